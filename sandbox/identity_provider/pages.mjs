// The pages of the sandbox's identity provider: plain forms, no script, nothing from elsewhere.

import { createHash } from 'node:crypto';

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 30rem; margin: 3rem auto; padding: 0 1rem; }
.emulated { border: 1px solid; border-radius: .3rem; padding: .3rem .6rem; font-size: .875rem; }
fieldset { border: 1px solid; border-radius: .3rem; margin: 1rem 0; }
label { display: block; padding: .2rem 0; }
input[type=password], input[type=text] { width: 100%; box-sizing: border-box; font: inherit;
  padding: .4rem; }
button { font: inherit; padding: .4rem 1rem; margin: .5rem .5rem 0 0; }
code { overflow-wrap: anywhere; }
.refused { font-weight: bold; }
`;
const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

export const HEADERS = {
  'Content-Type': 'text/html; charset=utf-8',
  'Cache-Control': 'no-store',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  // A browser holds redirects after a form to `form-action`, so the clients' addresses stand here.
  'Content-Security-Policy':
    `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none';`
    + " form-action 'self' http://127.0.0.1:* http://localhost:*",
};

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const safe = (text) => String(text).replace(/[&<>"']/g, (sign) => ESCAPES[sign]);

function page(title, body) {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${safe(title)}</title><style>${STYLE}</style></head>
<body>
<main>
<p class="emulated">Sandbox identity provider (emulation): it stands for your organization's own.</p>
<h1>${safe(title)}</h1>
${body}
</main>
</body>
</html>
`;
}

/** Answer a request of the protocol with a page of ours. */
export function show(ctx, text) {
  ctx.set(HEADERS);
  ctx.body = text;
}

export function login(people, passwordFile, refused = null) {
  const rows = people.map((person, index) => {
    const checked = (refused ? refused === person.subject : index === 0) ? ' checked' : '';
    return `<label><input type="radio" name="subject" value="${safe(person.subject)}"${checked}>
 ${safe(person.claims.name)}, ${safe(person.role)} <small>${safe(person.subject)}</small></label>`;
  });
  const message = refused === null
    ? ''
    : '<p class="refused" role="alert">This person and password do not go together.</p>';
  return page('Sign in', `${message}
<form method="post">
<fieldset><legend>Who are you?</legend>
${rows.join('\n')}
<label>Somebody else <input type="text" name="other" autocomplete="username"></label>
</fieldset>
<label>Password of this sandbox
<input type="password" name="password" required autocomplete="current-password"></label>
<p><small>It is the same for everybody, and stands in <code>${safe(passwordFile)}</code></small></p>
<button type="submit">Sign in</button>
<button type="submit" name="abort" value="yes" formnovalidate>Cancel</button>
</form>`);
}

export function consent(client, subject) {
  return page('Let this program sign in?', `
<p><strong>${safe(client)}</strong> wants to sign in as <strong>${safe(subject)}</strong>.
Say yes only if you have just started it yourself.</p>
<form method="post">
<button type="submit">Yes</button>
<button type="submit" name="abort" value="yes">No</button>
</form>`);
}

export function deviceCode(form, error) {
  const message = error
    ? '<p class="refused" role="alert">This code is not known, or it is over.</p>'
    : '<p>Type the code that the command line shows.</p>';
  // The package's form has a handler in it, which this page's policy would only report.
  return page('Sign in a command line', `${message}${form.replace(/ onfocus="[^"]*"/, '')}
<button type="submit" form="op.deviceInputForm">Go on</button>`);
}

export function deviceConfirm(form, client, code) {
  return page('Is this your code?', `
<p><strong>${safe(client)}</strong> shows this code: <code>${safe(code)}</code></p>
<p>Go on only if you started it yourself and it shows the same.</p>${form}
<button type="submit" form="op.deviceConfirmForm">Go on</button>
<button type="submit" form="op.deviceConfirmForm" name="abort" value="yes">Cancel</button>`);
}

export function deviceDone() {
  return page('Signed in', '<p>Go back to the command line; this page can be closed.</p>');
}

export function logout(form) {
  return page('Sign out here too?', `
<p>The control plane has signed you out. This identity provider still knows you.</p>${form}
<button type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button>
<button type="submit" form="op.logoutForm">Stay</button>`);
}

export function loggedOut() {
  return page('Signed out', '<p>This page can be closed.</p>');
}

export function failed(out) {
  const rows = Object.entries(out).map(
    ([name, value]) => `<dt>${safe(name)}</dt><dd><code>${safe(value)}</code></dd>`,
  );
  return page('This did not work', `<dl>${rows.join('')}</dl><p>Begin again where you came from.</p>`);
}
