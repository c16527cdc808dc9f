// A similar service as it is often written in Node: Fastify, stripe-node, mongodb, and amqplib, without the
// guarantees. It validates, writes, charges, writes, and publishes with a confirm.
//
//     node rival.js HOST PORT
import { randomUUID } from "node:crypto";
import amqp from "amqplib";
import Fastify from "fastify";
import { MongoClient } from "mongodb";
import Stripe from "stripe";

const [host, port] = process.argv.slice(2);
const { MONGODB_URI, RABBITMQ_URL, RABBITMQ_EXCHANGE, PAYMENT_GATEWAY_URL, PAYMENT_GATEWAY_API_KEY } = process.env;

const mongo = await new MongoClient(MONGODB_URI, { writeConcern: { w: "majority" } }).connect();
const payments = mongo.db().collection("rival_node");

const gateway = new URL(PAYMENT_GATEWAY_URL);
const stripe = new Stripe(PAYMENT_GATEWAY_API_KEY, {
  host: gateway.hostname,
  port: gateway.port,
  protocol: gateway.protocol.replace(":", ""),
  timeout: 10000,
});

const connection = await amqp.connect(RABBITMQ_URL);
const channel = await connection.createConfirmChannel();
await channel.assertExchange(RABBITMQ_EXCHANGE, "topic", { durable: true });
const publish = (key, body) =>
  new Promise((resolve, reject) =>
    channel.publish(
      RABBITMQ_EXCHANGE,
      key,
      Buffer.from(JSON.stringify(body)),
      { persistent: true, contentType: "application/json" },
      error => (error ? reject(error) : resolve()),
    ),
  );

const order = {
  type: "object",
  required: ["user_id", "booking_id", "amount", "payment_method", "user_email"],
  properties: {
    user_id: { type: "string", maxLength: 64 },
    booking_id: { type: "string", maxLength: 64 },
    amount: { type: "number", exclusiveMinimum: 0 },
    payment_method: { type: "string" },
    user_email: { type: "string", maxLength: 254 },
  },
};

const service = Fastify();
service.post("/payment/process", { schema: { body: order } }, async request => {
  const payment = `TXN-${randomUUID().replaceAll("-", "")}`;
  await payments.insertOne({ _id: payment, status: "pending", ...request.body });
  const intent = await stripe.paymentIntents.create(
    {
      amount: Math.round(request.body.amount * 100),
      currency: "usd",
      confirm: true,
      payment_method: "pm_card_visa",
      payment_method_types: ["card"],
    },
    { idempotencyKey: payment },
  );
  await payments.updateOne({ _id: payment }, { $set: { status: "completed", gateway_id: intent.id } });
  await publish("payment.success", {
    event_id: `evt_${payment}`,
    event_type: "payment.success",
    transaction_id: payment,
  });
  return { status: "success", transaction_id: payment };
});

process.on("SIGTERM", () => process.exit(0));
await service.listen({ host, port: Number(port) });
