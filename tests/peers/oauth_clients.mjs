// Introspects, revokes and introspects again, as an application with one of two npm packages would.
// Arguments: the package's name, the address of its module, our origin, client id, client secret, token.
const [library, module, origin, id, secret, token] = process.argv.slice(2)
const oauth = await import(module)
const configuration = await (await fetch(`${origin}/.well-known/logout-configuration`)).json()
const server = { ...configuration, issuer: origin }

async function withOauth4webapi(authentication) {
  const client = { client_id: id }
  const insecure = { [oauth.allowInsecureRequests]: true }
  const told = async () =>
    oauth.processIntrospectionResponse(
      server, client, await oauth.introspectionRequest(server, client, authentication, token, insecure))
  const before = await told()
  const again = await told()
  await oauth.processRevocationResponse(
    await oauth.revocationRequest(server, client, authentication, token, insecure))
  return { before, again, after: await told() }
}

async function withOpenidClient(authentication) {
  const configured = new oauth.Configuration(server, id, secret, authentication)
  oauth.allowInsecureRequests(configured)
  const before = await oauth.tokenIntrospection(configured, token)
  const again = await oauth.tokenIntrospection(configured, token, { token_type_hint: 'refresh_token' })
  await oauth.tokenRevocation(configured, token)
  return { before, again, after: await oauth.tokenIntrospection(configured, token) }
}

const method = secret.startsWith('post:') ? oauth.ClientSecretPost : oauth.ClientSecretBasic
const authentication = method(secret.replace(/^post:/, ''))
const results = library === 'oauth4webapi' ? await withOauth4webapi(authentication) : await withOpenidClient(authentication)
console.log(JSON.stringify(results))
