{{/*
What of a boundary belongs to the whole cluster: two namespaces, three cluster roles with their
bindings, one admission policy. One template, because the cluster's own release makes it for itself
and for each boundary that it lets in as a guest, whose own release may make nothing of it.
Arguments: .root, and of the boundary .name, .namespace (of its models) and .system (of its agent).
*/}}
{{- define "boundary-stack.clusterScope" -}}
{{- $scope := . }}
{{- range $namespace := list .system .namespace }}
---
apiVersion: v1
kind: Namespace
metadata:
  name: {{ $namespace }}
  labels:
    ringfence.dev/boundary: {{ $scope.name }}
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/audit: restricted
    pod-security.kubernetes.io/warn: restricted
  annotations:
    # Uninstalling must not delete the customer's artifacts, usage and keys.
    helm.sh/resource-policy: keep
{{- end }}
---
# The operator, cluster-wide: the one SecurityBoundary of its boundary, and the one namespace it
# rules. No Secrets anywhere.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "boundary-stack.clusterName" (dict "name" .name "part" "operator") | quote }}
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "operator") | nindent 4 }}
rules:
  - apiGroups: [ringfence.dev]
    resources: [securityboundaries]
    resourceNames: [{{ .name }}]
    verbs: [get, list, watch]
  - apiGroups: [ringfence.dev]
    resources: [securityboundaries/status]
    resourceNames: [{{ .name }}]
    verbs: [get, patch]
  - apiGroups: [""]
    resources: [namespaces]
    resourceNames: [{{ .namespace }}]
    verbs: [get, list, watch, patch]
---
# The agent, cluster-wide: the one SecurityBoundary of its boundary; a neighbour has its own.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "boundary-stack.clusterName" (dict "name" .name "part" "agent") | quote }}
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "agent") | nindent 4 }}
rules:
  - apiGroups: [ringfence.dev]
    resources: [securityboundaries]
    resourceNames: [{{ .name }}]
    verbs: [get, list, watch, update, patch, delete]
  # A right to create cannot name the object: the admission policy below does.
  - apiGroups: [ringfence.dev]
    resources: [securityboundaries]
    verbs: [create]
---
# The gateway asks the API server whose token the agent shows; TokenReview is cluster-scoped.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "boundary-stack.clusterName" (dict "name" .name "part" "token-review") | quote }}
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "gateway") | nindent 4 }}
rules:
  - apiGroups: [authentication.k8s.io]
    resources: [tokenreviews]
    verbs: [create]
{{- range $part, $holder := dict "operator" (list "operator" .system) "agent" (list "agent" .system) "token-review" (list "gateway" .namespace) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "boundary-stack.clusterName" (dict "name" $scope.name "part" $part) | quote }}
  labels: {{- include "boundary-stack.labels" (dict "root" $scope.root "name" $scope.name "component" (first $holder)) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "boundary-stack.clusterName" (dict "name" $scope.name "part" $part) | quote }}
subjects:
  - {kind: ServiceAccount, name: {{ first $holder }}, namespace: {{ last $holder }}}
{{- end }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: ringfence-{{ .name }}-agent
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "agent") | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [ringfence.dev]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [securityboundaries]
  matchConditions:
    - name: this-agent
      expression: request.userInfo.username == "system:serviceaccount:{{ .system }}:agent"
  validations:
    - expression: >-
        (object == null ? oldObject.metadata.name : object.metadata.name) == {{ .name | quote }}
      message: the agent of boundary {{ .name }} may write no other SecurityBoundary
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: ringfence-{{ .name }}-agent
  labels: {{- include "boundary-stack.labels" (dict "root" .root "name" .name "component" "agent") | nindent 4 }}
spec:
  policyName: ringfence-{{ .name }}-agent
  validationActions: [Deny]
{{- end -}}
