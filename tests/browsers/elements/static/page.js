import "/auth/logout-button.js";
