import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { Form, FormGroup, FormHelperText } from "@patternfly/react-core/dist/dynamic/components/Form";
import { FormSelect, FormSelectOption } from "@patternfly/react-core/dist/dynamic/components/FormSelect";
import { HelperText, HelperTextItem } from "@patternfly/react-core/dist/dynamic/components/HelperText";
import { Modal, ModalBody, ModalFooter, ModalHeader } from "@patternfly/react-core/dist/dynamic/components/Modal";
import { TextArea } from "@patternfly/react-core/dist/dynamic/components/TextArea";
import { TextInput } from "@patternfly/react-core/dist/dynamic/components/TextInput";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, unwrap } from "../api/client";
import type { BoundaryOut } from "../api/schema";
import { ErrorAlert } from "./ErrorState";

const DURATIONS: [seconds: number, label: string][] = [
  [1800, "30 minutes"],
  [3600, "1 hour"],
  [7200, "2 hours"],
  [14_400, "4 hours"],
  [28_800, "8 hours"],
  [43_200, "12 hours, the longest"],
];

/** The request for access: a purpose and a duration, no role and no policy; those are computed. */
export function RequestAccess({ boundary, onClose }: { boundary: BoundaryOut; onClose: () => void }) {
  const [purpose, setPurpose] = useState("");
  const [reason, setReason] = useState("");
  const [ticket, setTicket] = useState("");
  const [seconds, setSeconds] = useState(7200);
  const client = useQueryClient();
  const request = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/v1/boundaries/{boundary}/grants", {
          params: { path: { boundary: boundary.name } },
          body: { purpose: purpose.trim(), reason: reason.trim(), ticket: ticket.trim() || null, duration_seconds: seconds },
        }),
      ),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["boundaries"] });
      await client.invalidateQueries({ queryKey: ["approvals"] });
      onClose();
    },
  });
  const isReady = purpose.trim().length > 0;
  return (
    <Modal isOpen variant="small" onClose={onClose} aria-labelledby="request-title">
      <ModalHeader title={`Ask for access to ${boundary.display_name}`} labelId="request-title" />
      <ModalBody>
        <Form
          id="request-access"
          onSubmit={(event) => {
            event.preventDefault();
            if (isReady) request.mutate();
          }}
        >
          <FormGroup label="Purpose" fieldId="purpose" isRequired>
            <TextInput id="purpose" value={purpose} maxLength={200} isRequired onChange={(_, v) => setPurpose(v)} />
            <FormHelperText>
              <HelperText>
                <HelperTextItem>What the approver decides on, for example: first install.</HelperTextItem>
              </HelperText>
            </FormHelperText>
          </FormGroup>
          <FormGroup label="Reason" fieldId="reason">
            <TextArea id="reason" value={reason} rows={2} maxLength={2000} resizeOrientation="vertical" onChange={(_, v) => setReason(v)} />
          </FormGroup>
          <FormGroup label="Ticket" fieldId="ticket">
            <TextInput id="ticket" value={ticket} maxLength={100} onChange={(_, v) => setTicket(v)} />
          </FormGroup>
          <FormGroup label="For how long, from the approval on" fieldId="duration" isRequired>
            <FormSelect id="duration" value={String(seconds)} onChange={(_, v) => setSeconds(Number(v))}>
              {DURATIONS.map(([value, label]) => (
                <FormSelectOption key={value} value={String(value)} label={label} />
              ))}
            </FormSelect>
          </FormGroup>
        </Form>
        {request.error && <ErrorAlert error={request.error} />}
      </ModalBody>
      <ModalFooter>
        <Button type="submit" form="request-access" isDisabled={!isReady || request.isPending} isLoading={request.isPending}>
          Ask for access
        </Button>
        <Button variant="link" onClick={onClose}>
          Back
        </Button>
      </ModalFooter>
    </Modal>
  );
}
