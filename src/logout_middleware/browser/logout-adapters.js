/**
 * The kit under the names of two SDKs, for pages that call those already; logout-adapters.d.ts shows how.
 */
import { configure, logout } from "./logout.js";

function cookie(name) {
  const pairs = document.cookie.split("; ").map((pair) => pair.split("="));
  return pairs.find(([key]) => key === name)?.[1];
}

export const Userfront = {
  /** The account's tokens are cookies, which every logout deletes. */
  init(tenantId, options) {
    const [access, id, refresh] = ["access", "id", "refresh"].map((kind) => `${kind}.${tenantId}`);
    configure({
      cookies: [access, id, refresh],
      accessToken: () => cookie(access),
      refreshToken: () => cookie(refresh),
      ...options,
    });
  },

  logout: ({ redirect } = {}) => logout({ redirect }),
};

const subscribed = new Map();

export const VGS = {
  /** This SDK leaves it to the application where to go, in every tab. */
  init: (options) => configure({ redirect: false, ...options }),

  Event: {
    subscribe(name, listener) {
      VGS.Event.unsubscribe(name, listener);
      const listen = ({ detail }) => listener(detail);
      subscribed.set(listener, { ...subscribed.get(listener), [name]: listen });
      addEventListener(name, listen);
    },

    unsubscribe(name, listener) {
      removeEventListener(name, subscribed.get(listener)?.[name]);
    },
  },

  Auth: {
    async logout(callback) {
      const result = await logout({ redirect: false });
      callback?.(result);
      return result;
    },
  },
};
