import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "./api/client";
import { isSignedOut } from "./api/errors";

/** Called when the server no longer knows the session; the routes set it. */
let onSignedOut: () => void = () => undefined;

export function whenSignedOut(handler: () => void) {
  onSignedOut = handler;
}

/** Go to the sign-in, and back to this page from there. */
export function signedOut() {
  onSignedOut();
}

const onError = (error: unknown) => {
  if (isSignedOut(error)) signedOut();
};

export const queryClient = new QueryClient({
  queryCache: new QueryCache({ onError }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // Offline, a request shall fail and say so; by default it would wait without a word.
      networkMode: "always",
      // What the server understood and refused is not asked twice.
      retry: (count, error) =>
        count < 2 && (!(error instanceof ApiError) || error.status === 0 || error.status >= 500),
    },
    mutations: { networkMode: "always" },
  },
});
