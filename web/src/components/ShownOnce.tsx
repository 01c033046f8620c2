import { Alert } from "@patternfly/react-core/dist/dynamic/components/Alert";
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { CopyButton } from "./Digest";

/** A secret right after it was made: the server keeps only its hash, so this is the one time. */
export function ShownOnce({ what, secret, onDone }: { what: string; secret: string; onDone: () => void }) {
  return (
    <Alert
      variant="success"
      isInline
      title={`${what} is ready. Copy it now: it is not shown again.`}
      actionLinks={
        <Button variant="link" isInline onClick={onDone}>
          I have it, hide it
        </Button>
      }
    >
      <div className="rf-secret">
        <code data-testid="shown-once">{secret}</code>
        <CopyButton text={secret} label={`Copy ${what.toLowerCase()}`} />
      </div>
      <p>Keep it in a file that only you can read, or in your secret store. Only a hash of it is kept here.</p>
    </Alert>
  );
}
