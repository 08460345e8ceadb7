// The page's own script. What it imports fails where a test blocks the module, and then the plain form is what is there.
import * as kit from "/auth/logout.js";
import "/auth/logout-button.js";

kit.configure(JSON.parse(document.documentElement.dataset.options));
window.kit = kit;
