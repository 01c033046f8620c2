/** Sign-in: the organization says which identity provider to go to; no password is typed here. */
import { Alert } from "@patternfly/react-core/dist/dynamic/components/Alert";
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { Form, FormGroup, FormHelperText } from "@patternfly/react-core/dist/dynamic/components/Form";
import { HelperText, HelperTextItem } from "@patternfly/react-core/dist/dynamic/components/HelperText";
import { TextInput } from "@patternfly/react-core/dist/dynamic/components/TextInput";
import { useQuery } from "@tanstack/react-query";
import { Navigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { isMissingRoute } from "../api/errors";
import { sessionQuery } from "../api/queries";
import { signInStart } from "../api/addresses";
import { Brand } from "../components/Brand";
import { ErrorState } from "../components/ErrorState";
import { ThemeSwitch } from "../components/ThemeSwitch";
import { usePageTitle } from "../hooks/usePage";

const REMEMBERED = "ringfence.sign-in-organization";
/** domains/organizations: names as the organization's file allows them. */
const NAME = /^[a-z][a-z0-9-]*$/;

const WHY: Record<string, string> = {
  expired: "Your session has ended. Sign in to go on where you were.",
  denied: "The identity provider did not let you in. Ask its administrator.",
  "unknown-organization": "There is no organization of this name with a sign-in here.",
};

export function SignIn() {
  usePageTitle("Sign in");
  const search = useSearch({ from: "/sign-in" });
  const session = useQuery(sessionQuery);
  const [name, setName] = useState(search.organization ?? localStorage.getItem(REMEMBERED) ?? "");
  const [isTouched, setTouched] = useState(false);
  if (session.data?.state === "signed-in") {
    return <Navigate to={safeReturn(search.return_to)} replace />;
  }
  const isWrong = isTouched && !NAME.test(name);
  return (
    <div className="rf-sign-in">
      <main>
        <div className="rf-sign-in-brand">
          <Brand />
          <span className="rf-grow" />
          <ThemeSwitch />
        </div>
        <h1>Sign in</h1>
        <p className="rf-about">Your organization's own identity provider asks who you are.</p>
        {search.error && (
          <Alert variant="info" isInline isPlain title={WHY[search.error] ?? `The sign-in did not work (${search.error}). Try again.`} />
        )}
        {session.error && (isMissingRoute(session.error) || !session.isFetching) && (
          <ErrorState error={session.error} what="Sign-in" onRetry={() => void session.refetch()} />
        )}
        <Form
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            setTouched(true);
            if (!NAME.test(name)) return;
            localStorage.setItem(REMEMBERED, name);
            // A navigation and no form: the policy's `form-action` would stop at the provider.
            window.location.assign(signInStart(name, safeReturn(search.return_to)));
          }}
        >
          <FormGroup label="Organization" fieldId="organization" isRequired>
            <TextInput
              id="organization"
              name="organization"
              value={name}
              onChange={(_, value) => setName(value.trim().toLowerCase())}
              validated={isWrong ? "error" : "default"}
              aria-describedby="organization-hint"
              autoComplete="organization"
              autoCapitalize="none"
              spellCheck={false}
              isRequired
            />
            <FormHelperText>
              <HelperText id="organization-hint">
                <HelperTextItem variant={isWrong ? "error" : "default"}>
                  {isWrong
                    ? "Small letters, digits and hyphens, beginning with a letter: for example acme."
                    : "The short name, for example acme."}
                </HelperTextItem>
              </HelperText>
            </FormHelperText>
          </FormGroup>
          <Button type="submit" variant="primary" isBlock>
            Continue to your identity provider
          </Button>
        </Form>
      </main>
    </div>
  );
}

/** Only a path of this console may be returned to; the server checks the same. */
function safeReturn(path: string | undefined): string {
  return path && /^\/(?![/\\])/.test(path) && !path.startsWith("/sign-in") ? (path === "/" ? "/welcome" : path) : "/welcome";
}
