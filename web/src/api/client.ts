/**
 * The only place that talks to the server: the client generated from docs/reference/openapi.json,
 * with what every request carries (organization, CSRF token) and one error class.
 */
import createClient, { type Middleware } from "openapi-fetch";
import type { paths } from "./schema";

export interface ErrorBody {
  code: string;
  message: string;
  request_id?: string;
  field?: string | null;
  fix?: string | null;
  problems?: { path?: string; message?: string; fix?: string }[] | null;
}

/** An answer that is an error, or no answer at all (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly body: ErrorBody,
  ) {
    super(body.message);
  }
}

/** What requests carry; set by the session and the choice of organization, read by each request. */
const carried: { csrf: string | null; organization: string | null } = {
  csrf: null,
  organization: null,
};

export function carryCsrf(token: string | null) {
  carried.csrf = token;
}

export function carryOrganization(name: string | null) {
  carried.organization = name;
}

/** For links, which carry no header. */
export function carriedOrganization(): string | null {
  return carried.organization;
}

/** Headers of every request; also used by the event stream, which is no JSON request. */
export function carriedHeaders(method: string): Record<string, string> {
  const headers: Record<string, string> = {};
  if (carried.organization) headers["Ringfence-Organization"] = carried.organization;
  if (carried.csrf && method !== "GET") headers["Ringfence-CSRF"] = carried.csrf;
  return headers;
}

const carry: Middleware = {
  onRequest({ request }) {
    for (const [name, value] of Object.entries(carriedHeaders(request.method))) {
      request.headers.set(name, value);
    }
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: "/", credentials: "same-origin" });
api.use(carry);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Return the data of a call, or throw an ApiError. */
export async function unwrap<T>(call: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await call;
  } catch (cause) {
    throw new ApiError(0, unreachable(cause));
  }
  if (!answer.response.ok) throw new ApiError(answer.response.status, bodyOf(answer.error));
  return answer.data as T;
}

function unreachable(cause: unknown): ErrorBody {
  return {
    code: "unreachable",
    message: "The server does not answer.",
    fix: `Check your connection, then try again. (${cause instanceof Error ? cause.message : cause})`,
  };
}

export function bodyOf(error: unknown): ErrorBody {
  if (typeof error === "object" && error !== null && "error" in error) {
    return (error as { error: ErrorBody }).error;
  }
  return { code: "not-the-api", message: "What answered is not the control plane." };
}
