// A provider made of the npm package oidc-provider (certified by the OpenID Foundation) with one client.
//
//     node provider.mjs PORT REDIRECT_URI METHOD SECRET      METHOD: how the client shows its secret, or `none`
//
// Whoever logs in is <login>@example.org; `ana` is in the group `ops`. What scopes ask for is told at the userinfo
// endpoint alone, as the package does unless it is told otherwise.
import Provider from "oidc-provider";

const [port, redirectUri, method, secret] = process.argv.slice(2);
const account = (sub) => ({
  accountId: sub,
  claims: () => ({ sub, email: `${sub}@example.org`, email_verified: true, groups: sub === "ana" ? ["ops"] : [] }),
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "turnout",
      redirect_uris: [redirectUri],
      token_endpoint_auth_method: method,
      ...(method === "none" ? {} : { client_secret: secret }),
    },
  ],
  claims: { email: ["email", "email_verified"], groups: ["groups"] },
  findAccount: (_, sub) => account(sub),
});
provider.listen(Number(port), "127.0.0.1");
