// A real OpenID provider (npm oidc-provider) on loopback. Argument: JSON {module, port, clients}.
// Whoever is named in login_hint is logged in without a question; every client has the user's consent.
// GET /test/seen: how often each path was asked for, and what became of each back-channel logout.
const { module, port, clients } = JSON.parse(process.argv[2]);
const { Provider } = await import(module);

const issuer = `http://127.0.0.1:${port}`;
const seen = { asked: {}, delivered: [] };

const provider = new Provider(issuer, {
  clients,
  claims: { openid: ['sub', 'sid'] },
  cookies: { keys: ['a key of the tests'] },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
  },
  // It refuses to call addresses of this host, as it should in production (ecosystem.md R15).
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/test/login/${interaction.uid}` },
  issueRefreshToken: () => true,
  async loadExistingGrant(ctx) {
    const { client, session, provider: self } = ctx.oidc;
    const known = session.grantIdFor(client.clientId);
    if (known) return self.Grant.find(known);
    const grant = new self.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope('openid offline_access');
    await grant.save();
    return grant;
  },
  ttl: { Session: 3600, Grant: 3600, RefreshToken: 3600, IdToken: 3600, AccessToken: 3600, Interaction: 600 },
});

for (const outcome of ['success', 'error']) {
  provider.on(`backchannel.${outcome}`, (...given) => {
    const client = given.find((each) => each?.clientId);
    seen.delivered.push({ outcome, client: client?.clientId, why: outcome === 'error' ? String(given[1]) : undefined });
  });
}

provider.use(async (ctx, next) => {
  seen.asked[ctx.path] = (seen.asked[ctx.path] ?? 0) + 1;
  if (ctx.path === '/test/seen') {
    ctx.body = seen;
  } else if (ctx.path.startsWith('/test/login/')) {
    const { params } = await provider.interactionDetails(ctx.req, ctx.res);
    await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: params.login_hint } });
    ctx.respond = false;
  } else {
    await next();
  }
});

provider.listen(port, '127.0.0.1');
