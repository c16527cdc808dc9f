"use strict";

// What Stripe.js does is written out here: https://docs.stripe.com/js/payment_intents/confirm_payment
const GATEWAY_URL = document.body.dataset.gateway;
const USER_ID = "checkout_user";
const POLL_MILLISECONDS = 500;
const MAX_POLLS = 60;

const message = document.getElementById("message");
const order = document.getElementById("order");
const payment = document.getElementById("payment");

/** The payment that the customer is about to confirm: the API's response, with `client_secret`. */
let open = null;

function show(text, form) {
  message.textContent = text;
  order.hidden = form !== order;
  payment.hidden = form !== payment;
}

async function api(path, body, headers = {}) {
  const request = body && {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, request);
  const result = await response.json();
  if (result.error) throw new Error(result.error.message);
  return result;
}

function status(transactionId) {
  return api(`/payment/status/${encodeURIComponent(transactionId)}`);
}

/** Wait until the API knows what became of a payment that Stripe reports as paid. */
async function waitUntilSettled(transactionId) {
  show("Confirmed. Waiting for the shop …");
  for (let polls = 0; polls < MAX_POLLS; polls += 1) {
    const found = await status(transactionId);
    if (!["pending", "requires_action"].includes(found.status)) {
      show(found.status === "completed" ? "Paid." : `The payment is ${found.status}.`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
  }
  show("The shop does not know the outcome yet.");
}

async function checkOut() {
  const fields = Object.fromEntries(new FormData(order));
  open = await api(
    "/payment/process",
    { ...fields, amount: Number(fields.amount), user_id: USER_ID, payment_method: "stripe" },
    { "Idempotency-Key": crypto.randomUUID() },
  );
  show("Choose how to pay.", payment);
}

async function pay() {
  const returnUrl = new URL(location.pathname, location.origin);
  returnUrl.searchParams.set("transaction_id", open.transaction_id);
  const form = new URLSearchParams({
    key: "pk_test_simulator",
    client_secret: open.client_secret,
    return_url: returnUrl.href,
  });
  const method = payment.elements.method.value;
  if (method === "paypal") {
    form.set("payment_method_data[type]", "paypal");
  } else {
    form.set("payment_method_data[type]", "card");
    form.set("payment_method_data[card][number]", method);
    form.set("payment_method_data[card][exp_month]", "12");
    form.set("payment_method_data[card][exp_year]", String(new Date().getFullYear() + 2));
    form.set("payment_method_data[card][cvc]", "737");
  }
  const intentId = open.client_secret.split("_secret_")[0];
  const url = `${GATEWAY_URL}/v1/payment_intents/${encodeURIComponent(intentId)}/confirm`;
  const intent = await (await fetch(url, { method: "POST", body: form })).json();
  if (intent.error) {
    show(intent.error.message, payment);
  } else if (intent.next_action) {
    location.assign(intent.next_action.redirect_to_url.url);
  } else {
    await waitUntilSettled(open.transaction_id);
  }
}

async function cancel() {
  const { transaction_id, booking_id } = open;
  await api("/payment/cancel", { transaction_id, booking_id, user_id: USER_ID });
  show("The payment is canceled. Nothing was charged.");
}

/** The customer comes back from 3-D Secure or PayPal. */
async function comeBack(query) {
  const transactionId = query.get("transaction_id");
  const found = await status(transactionId);
  if (query.get("redirect_status") === "failed" && found.client_secret) {
    open = found;
    show("The payment was not confirmed. Choose how to pay.", payment);
  } else {
    await waitUntilSettled(transactionId);
  }
}

/** Run a step; show why it failed and leave its form where it is. */
function run(step, form) {
  for (const button of document.querySelectorAll("button")) button.disabled = true;
  step()
    .catch((error) => show(error.message, form))
    .finally(() => {
      for (const button of document.querySelectorAll("button")) button.disabled = false;
    });
}

order.addEventListener("submit", (event) => {
  event.preventDefault();
  run(checkOut, order);
});
payment.addEventListener("submit", (event) => {
  event.preventDefault();
  run(pay, payment);
});
document.getElementById("cancel").addEventListener("click", () => run(cancel, payment));

const query = new URLSearchParams(location.search);
if (query.has("transaction_id")) {
  run(() => comeBack(query));
} else {
  order.elements.booking_id.value = `BOOK-${Math.floor(Math.random() * 1e6)}`;
  show("", order);
}
