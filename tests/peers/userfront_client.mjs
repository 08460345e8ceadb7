// Logs out by userfront-core as a page on https://example.com/random would, with as much of a browser around it as the
// package touches. Arguments: the address of its module, our origin, the access token.
const [module, origin, token] = process.argv.slice(2)
const page = new URL('https://example.com/random')
const kept = new Map(['access', 'id', 'refresh'].map((kind) => [`${kind}.abcdefg`, token]))
const visited = []

class Link {
  set href(path) {
    const { pathname, search, hash } = new URL(path, page)
    Object.assign(this, { pathname, search, hash })
  }
}

globalThis.window = {
  atob,
  location: {
    href: page.href, hostname: page.hostname, pathname: page.pathname, protocol: page.protocol,
    assign: (path) => visited.push(new URL(path, page).href),
  },
}
globalThis.document = {
  get cookie() {
    return [...kept].map((pair) => pair.join('=')).join('; ')
  },
  set cookie(line) {
    const expires = /expires=([^;]+)/i.exec(line)
    if (expires && new Date(expires[1]) < new Date()) kept.delete(line.split('=')[0])
  },
  createElement: () => new Link(),
}

const loaded = (await import(module)).default
const Userfront = loaded.default ?? loaded
Userfront.init('abcdefg', { baseUrl: origin })
const before = { token: Userfront.tokens.accessToken, kept: [...kept.keys()] }
await Userfront.logout()
console.log(JSON.stringify({ before, after: { token: Userfront.tokens.accessToken ?? null, kept: [...kept.keys()] }, visited }))
