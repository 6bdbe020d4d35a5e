// The issuer's pages: plain HTML that works without script.
const escape = (text) => String(text ?? '').replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f2f4f7;color:#1c2733}
main{max-width:24rem;margin:10vh auto;padding:1.5rem;background:#fff;border:1px solid #ccd3db;border-radius:8px}
h1{font-size:1.25rem;margin-top:0}label{display:block;margin:.75rem 0 .25rem}
input{font:inherit;width:100%;padding:.5rem;box-sizing:border-box;border:1px solid #66727f;border-radius:4px}
button{font:inherit;margin:1rem .5rem 0 0;padding:.5rem 1rem;border:1px solid #14508c;border-radius:4px;background:#14508c;color:#fff}
button.other{background:#fff;color:#14508c}.error{color:#a11}`;

export const page = (title, body) => `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${escape(title)}</title><style>${STYLE}</style></head>
<body><main><h1>${escape(title)}</h1>${body}</main></body></html>`;

export const loginPage = (action, client, user, error) => page('Sign in to the local grid', `
<p>${escape(client)} asks who you are.</p>
${error ? `<p class="error" role="alert">${escape(error)}</p>` : ''}
<form method="post" action="${escape(action)}">
<label for="username">User</label>
<input id="username" name="username" value="${escape(user)}" autocomplete="username" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Sign in</button></form>`);

export const consentPage = (action, client, user, scopes) => page(`Let ${client} act for you?`, `
<p>${escape(client)} asks to act for ${escape(user)} with:</p>
<ul>${scopes.map((scope) => `<li>${escape(scope)}</li>`).join('')}</ul>
<form method="post" action="${escape(action)}">
<button type="submit" name="answer" value="yes">Allow</button>
<button type="submit" name="answer" value="no" class="other">Refuse</button></form>`);

export const codePage = (form, error) => page('Connect a device', `
${error ? '<p class="error" role="alert">This code is not known, or no longer.</p>' : ''}
<p>Enter the code that your device shows.</p>${form}
<button type="submit" form="op.deviceInputForm">Continue</button>`);

export const codeConfirmPage = (form, client, code) => page('Connect a device', `
<p>${escape(client)} asks to act for you. Go on only if your device shows <strong>${escape(code)}</strong>.</p>${form}
<button type="submit" form="op.deviceConfirmForm">Allow</button>
<button type="submit" form="op.deviceConfirmForm" name="abort" value="yes" class="other">Refuse</button>`);

export const donePage = () => page('Done', '<p>You can close this page and go back to your device.</p>');

export const logoutPage = (form) => page('Sign out', `
<p>Sign out of the local grid's issuer as well?</p>${form}
<button type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button>
<button type="submit" form="op.logoutForm" class="other">Stay</button>`);

export const errorPage = (out) => page('This did not work', `
<p class="error">${escape(out.error)}: ${escape(out.error_description)}</p>`);
