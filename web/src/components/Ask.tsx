/** A question in a dialog: with a reason where one is kept, with its error where it was refused. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { Form, FormGroup } from "@patternfly/react-core/dist/dynamic/components/Form";
import { FormHelperText } from "@patternfly/react-core/dist/dynamic/components/Form";
import { HelperText, HelperTextItem } from "@patternfly/react-core/dist/dynamic/components/HelperText";
import { Modal, ModalBody, ModalFooter, ModalHeader } from "@patternfly/react-core/dist/dynamic/components/Modal";
import { TextArea } from "@patternfly/react-core/dist/dynamic/components/TextArea";
import { useId, useState, type ReactNode } from "react";
import { ErrorAlert } from "./ErrorState";

interface Props {
  title: string;
  children?: ReactNode;
  confirm: string;
  isDanger?: boolean;
  /** Asks for a reason of at least so many characters; 0 makes it optional. */
  reasonMinimum?: number;
  reasonLabel?: string;
  /** Who reads the reason; without it, that the requester of a thing decided on does. */
  reasonHint?: string;
  isBusy: boolean;
  error: unknown;
  onConfirm: (reason: string) => void;
  onClose: () => void;
}

export function Ask(props: Props) {
  const { title, children, confirm, isDanger, reasonMinimum, isBusy, error, onConfirm, onClose } = props;
  const [reason, setReason] = useState("");
  const id = useId();
  const isShort = reasonMinimum !== undefined && reason.trim().length < reasonMinimum;
  return (
    <Modal isOpen variant="small" onClose={onClose} aria-labelledby={`${id}-title`}>
      <ModalHeader title={title} labelId={`${id}-title`} />
      <ModalBody>
        {children}
        {reasonMinimum !== undefined && (
          <Form
            onSubmit={(event) => {
              event.preventDefault();
              if (!isShort) onConfirm(reason.trim());
            }}
          >
            <FormGroup label={props.reasonLabel ?? "Reason"} fieldId={`${id}-reason`} isRequired={reasonMinimum > 0}>
              <TextArea
                id={`${id}-reason`}
                value={reason}
                onChange={(_, value) => setReason(value)}
                rows={3}
                maxLength={500}
                resizeOrientation="vertical"
              />
              <FormHelperText>
                <HelperText>
                  <HelperTextItem>
                    {props.reasonHint ?? (reasonMinimum > 0 ? "Kept with the decision; the requester reads it." : "Optional; kept with the decision.")}
                  </HelperTextItem>
                </HelperText>
              </FormHelperText>
            </FormGroup>
          </Form>
        )}
        {error ? (
          <div className="rf-refused">
            <ErrorAlert error={error} />
          </div>
        ) : null}
      </ModalBody>
      <ModalFooter>
        <Button
          variant={isDanger ? "danger" : "primary"}
          isLoading={isBusy}
          isDisabled={isBusy || isShort}
          onClick={() => onConfirm(reason.trim())}
        >
          {confirm}
        </Button>
        <Button variant="link" onClick={onClose}>
          Back
        </Button>
      </ModalFooter>
    </Modal>
  );
}
