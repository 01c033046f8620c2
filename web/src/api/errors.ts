/** The one function that turns an error into text for people. */
import { ApiError } from "./client";

export interface Explained {
  title: string;
  message: string;
  /** What to do about it. */
  fix: string | null;
  requestId: string | null;
  problems: string[];
}

export function explain(error: unknown): Explained {
  if (isMissingPart(error)) {
    return {
      title: navigator.onLine ? "This part of the console could not be loaded" : TITLES[0]!,
      message: navigator.onLine ? "The server may have been upgraded since you opened the page." : "This part of the console was not loaded before the connection was lost.",
      fix: navigator.onLine ? "Load the page again." : "Check your connection, then try again.",
      requestId: null,
      problems: [],
    };
  }
  if (!(error instanceof ApiError)) {
    return {
      title: "Something went wrong in this page",
      message: error instanceof Error ? error.message : String(error),
      fix: "Load the page again.",
      requestId: null,
      problems: [],
    };
  }
  const { body, status } = error;
  return {
    title: TITLES[status] ?? (status >= 500 ? "The server could not do this" : "This did not work"),
    message: sentence(body.message),
    fix: body.fix ? sentence(body.fix) : (FIXES[status] ?? null),
    requestId: body.request_id ?? null,
    problems: (body.problems ?? []).map((p) =>
      [p.path, p.message, p.fix].filter(Boolean).join(": "),
    ),
  };
}

/**
 * Tell whether a route does not exist on this server, as opposed to a thing that is not found: the
 * framework's own 404 says exactly this (controlplane/core/http.py, `_on_http_exception`).
 */
export function isMissingRoute(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404 && error.body.message === "Not Found";
}

/** Tell whether a page's own script did not come: browsers word it differently. */
export function isMissingPart(error: unknown): boolean {
  return error instanceof TypeError && /dynamically imported module|module script failed|loading.*module/i.test(error.message);
}

export function isSignedOut(error: unknown): boolean {
  return error instanceof ApiError && error.status === 401;
}

const TITLES: Record<number, string> = {
  0: "No connection",
  401: "You are signed out",
  403: "You may not do this",
  404: "Not found",
  409: "Not possible right now",
  410: "This no longer exists",
  422: "Something in the form is not right",
  429: "Too many requests",
  503: "Try again in a moment",
};
const FIXES: Record<number, string> = {
  401: "Sign in again.",
  404: "It may have been removed, or you have no role that lets you see it.",
  500: "Tell your platform team the request id below.",
};

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?)]$/.test(first) ? first : `${first}.`;
}
