// Questions to the API, with the session of who is signed in.
// @ts-check

/** What the API says when it does not answer (RFC 9457). */
export class Problem extends Error {
  /** @param {{status: number, title: string, detail: string, remedy?: string}} told */
  constructor(told) {
    super(told.detail || told.title);
    this.status = told.status;
    this.title = told.title;
    this.detail = told.detail;
    this.remedy = told.remedy ?? "";
  }
}

/** Lead to the door, and back here. */
export function toSignIn() {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/**
 * Address of a question; parameters without a value are left out.
 * @param {string} path
 * @param {Record<string, string | number | boolean | null | undefined>} [params]
 */
export function address(path, params = {}) {
  const known = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(known.map(([name, value]) => [name, String(value)])).toString();
  return query ? `${path}?${query}` : path;
}

/**
 * Ask for JSON; throws `Problem`.
 * @param {string} path
 * @param {Record<string, string | number | boolean | null | undefined>} [params]
 * @param {{signal?: AbortSignal}} [options]
 * @returns {Promise<any>}
 */
export async function ask(path, params = {}, { signal } = {}) {
  let answer;
  try {
    answer = await fetch(address(path, params), { headers: { Accept: "application/json" }, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({ status: 0, title: "No connection", detail: "The server cannot be reached right now.", remedy: "Try again in a moment." });
  }
  if (answer.ok) return answer.json();
  if (answer.status === 401) toSignIn();
  throw new Problem({ status: answer.status, title: "Not answered", detail: `The server answered ${answer.status}.`, ...(await told(answer)) });
}

/** @param {Response} answer */
async function told(answer) {
  try {
    return await answer.json();
  } catch {
    return {};
  }
}
