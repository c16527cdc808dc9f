// Make the replica set and the user of the services, once. Fails until MongoDB takes writes.
db.auth(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.MONGO_INITDB_ROOT_PASSWORD);
try {
  rs.status();
} catch (error) {
  rs.initiate({ _id: "rs0", members: [{ _id: 0, host: "mongo:27017" }] });
}
if (!db.hello().isWritablePrimary) quit(1);
const movieapp = db.getSiblingDB("movieapp");
if (!movieapp.getUser("movieapp")) {
  const roles = [{ role: "readWrite", db: "movieapp" }];
  movieapp.createUser({ user: "movieapp", pwd: process.env.MONGODB_PASSWORD, roles });
}
