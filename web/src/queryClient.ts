import { QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "./api/client";
import { isSignedOut } from "./api/errors";

/** Called when the server no longer knows the session; the routes set it. */
let onSignedOut: () => void = () => undefined;

export function whenSignedOut(handler: () => void) {
  onSignedOut = handler;
}

export const queryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error) => {
      if (isSignedOut(error)) onSignedOut();
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // What the server understood and refused is not asked twice.
      retry: (count, error) =>
        count < 2 && (!(error instanceof ApiError) || error.status === 0 || error.status >= 500),
    },
  },
});
