{{/* The full name of something: (list $ "api") */}}
{{- define "millstream.name" -}}
{{- $root := index . 0 -}}
{{- $prefix := $root.Values.namePrefix -}}
{{- if kindIs "invalid" $prefix }}{{ $prefix = printf "%s-" $root.Release.Name }}{{ end -}}
{{- printf "%s%s" $prefix (index . 1) -}}
{{- end -}}

{{/* What selects the pods of a component: (list $ "api") */}}
{{- define "millstream.selector" -}}
app: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end -}}

{{/* Labels of the pods of a component: (list $ "worker-sentiment" "worker"). A version among them would replace the
stores' pods at each upgrade. */}}
{{- define "millstream.podLabels" -}}
app: {{ index . 1 }}
app.kubernetes.io/name: millstream
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 2 }}
{{- end -}}

{{/* Labels of any other object */}}
{{- define "millstream.labels" -}}
{{- $root := index . 0 -}}
{{ include "millstream.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* Name, namespace and labels: (list $ "api" "gateway"), or with a name of its own as fourth: "api-service" */}}
{{- define "millstream.metadata" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- if gt (len .) 3 }}{{ $name = index . 3 }}{{ end -}}
name: {{ include "millstream.name" (list $root $name) }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "millstream.labels" . | nindent 2 }}
{{- end -}}

{{/* The image of a service: (list $ "gateway") */}}
{{- define "millstream.image" -}}
{{- $root := index . 0 -}}
{{ $root.Values.images.registry }}/{{ index . 1 }}:{{ $root.Values.images.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{/* The value of an environment variable as text; numbers without an exponent. */}}
{{- define "millstream.text" -}}
{{- if kindIs "string" . }}{{ . | quote }}{{ else }}{{ toJson . | quote }}{{ end -}}
{{- end -}}

{{- define "millstream.secretName" -}}
{{ .Values.secret.existing | default (include "millstream.name" (list . "secrets")) }}
{{- end -}}

{{/* One variable from a Secret: (list "REDIS_PASSWORD" secret key) */}}
{{- define "millstream.fromSecret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{/* The same, which may be missing there */}}
{{- define "millstream.fromSecretIfThere" -}}
{{ include "millstream.fromSecret" . }}
      optional: true
{{- end -}}

{{/* Secrets of the gateway alone: by what it knows who asks, of digests, of cached results */}}
{{- define "millstream.gatewaySecretsEnv" -}}
{{- $secret := include "millstream.secretName" . -}}
{{- range $name := list "API_KEY_PEPPER" "JWT_SECRET" "INPUT_DIGEST_SECRET" "CACHE_SECRET" }}
{{ include "millstream.fromSecretIfThere" (list $name $secret $name) }}
{{- end }}
{{- end -}}

{{/* Redis, as one of its users: (list $ "gateway") */}}
{{- define "millstream.redisEnv" -}}
{{- $root := index . 0 -}}
{{- $user := index . 1 -}}
{{- if $root.Values.redis.enabled -}}
- name: REDIS_URL
  value: redis://{{ $user }}@{{ include "millstream.name" (list $root "redis") }}:6379/0
{{ include "millstream.fromSecret" (list "REDIS_URL_PASSWORD" (include "millstream.secretName" $root) (printf "REDIS_%s_PASSWORD" (upper $user))) }}
{{- else -}}
{{- $external := $root.Values.redis.external -}}
{{ include "millstream.fromSecret" (list "REDIS_URL" (required "redis.external.existingSecret: name the Secret with the URL of your Redis, or set redis.enabled" $external.existingSecret) (get $external.keys $user | default $external.key)) }}
{{- end -}}
{{- end -}}

{{/* Postgres, as the role of a service, or as the owner of the tables: (list $ "gateway"), (list $ "migrate") */}}
{{- define "millstream.databaseEnv" -}}
{{- $root := index . 0 -}}
{{- $user := index . 1 -}}
{{- if $root.Values.postgres.enabled -}}
{{- $isOwner := eq $user "migrate" -}}
- name: DATABASE_URL
  value: postgresql://{{ $isOwner | ternary "millstream" (printf "millstream_%s" $user) }}@{{ include "millstream.name" (list $root "postgres") }}:5432/millstream
{{ include "millstream.fromSecret" (list "DATABASE_URL_PASSWORD" (include "millstream.secretName" $root) ($isOwner | ternary "POSTGRES_PASSWORD" (printf "POSTGRES_%s_PASSWORD" (upper $user)))) }}
{{- else -}}
{{- $external := $root.Values.postgres.external -}}
{{ include "millstream.fromSecret" (list "DATABASE_URL" (required "postgres.external.existingSecret: name the Secret with the URL of your Postgres, or set postgres.enabled" $external.existingSecret) (get $external.keys $user | default $external.key)) }}
{{- end -}}
{{- end -}}

{{/* The passwords of the roles that the migrate step makes */}}
{{- define "millstream.rolePasswords" -}}
{{- if .Values.postgres.enabled }}
{{- range $user := list "gateway" "persister" }}
{{ include "millstream.fromSecret" (list (printf "%s_ROLE_PASSWORD" (upper $user)) (include "millstream.secretName" $) (printf "POSTGRES_%s_PASSWORD" (upper $user))) }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Where fetched artifacts of buckets are kept, and the key to the buckets */}}
{{- define "millstream.bucketEnv" -}}
{{- with .Values.artifacts.buckets }}
{{- if .enabled }}
- name: ARTIFACT_CACHE
  value: /app/models/fetched
- name: ARTIFACT_CACHE_MB
  value: {{ .cacheMB | int64 | quote }}
{{- if .existingSecret }}
{{- range $key := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
{{ include "millstream.fromSecret" (list $key $.Values.artifacts.buckets.existingSecret $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The prefix of all keys in Redis */}}
{{- define "millstream.keyPrefix" -}}
{{ get .Values.settings "KEY_PREFIX" | default "millstream:" }}
{{- end -}}

{{/* Settings of one component over those of all: (list $ .Values.api.settings) */}}
{{- define "millstream.ownSettings" -}}
{{- range $name, $value := index . 1 }}
- name: {{ $name }}
  value: {{ include "millstream.text" $value }}
{{- end }}
{{- end -}}

{{- define "millstream.envFrom" -}}
- configMapRef:
    name: {{ include "millstream.name" (list . "config") }}
{{- end -}}

{{/* A setting of a component: (list $ .Values.api.settings "SHUTDOWN_GRACE_S" 30) */}}
{{- define "millstream.setting" -}}
{{- $root := index . 0 -}}
{{- $name := index . 2 -}}
{{- get (index . 1) $name | default (get $root.Values.settings $name) | default (index . 3) -}}
{{- end -}}

{{/* Seconds that a pod is given to end: what it takes before SIGTERM, its own grace, and a margin: (list $ settings 5) */}}
{{- define "millstream.grace" -}}
{{- add (include "millstream.setting" (list (index . 0) (index . 1) "SHUTDOWN_GRACE_S" 30) | float64 | ceil | int) (index . 2) 10 -}}
{{- end -}}

{{/* The restricted profile, for a pod: the user's id */}}
{{- define "millstream.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "millstream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Replicas apart from one another, as far as nodes and zones allow: (list $ "api") */}}
{{- define "millstream.spread" -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ $key }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "millstream.selector" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

{{/* Name of a priority class of the chart's: (list $ "stores"). It is the cluster's, so the namespace is in it. */}}
{{- define "millstream.priorityClass" -}}
{{ (index . 0).Release.Namespace }}-{{ include "millstream.name" . }}
{{- end -}}

{{/* Where pods go, and before whom: (list $ .Values.api "services") */}}
{{- define "millstream.placement" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- $class := ternary (include "millstream.priorityClass" (list $root (index . 2))) "" $root.Values.priorityClasses.create -}}
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $own.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with $own.priorityClassName | default $class }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* The catalogue of the values over the image's, limits of callers, and certificates: as mounts, and as volumes. */}}
{{- define "millstream.extraMounts" -}}
{{- if .Values.catalogue }}
- {name: catalogue, mountPath: /app/models/models.toml, subPath: models.toml, readOnly: true}
{{- end }}
{{- if .Values.limits }}
- {name: limits, mountPath: /app/limits.toml, subPath: limits.toml, readOnly: true}
{{- end }}
{{- if .Values.certificates.existingConfigMap }}
- {name: certificates, mountPath: /etc/millstream/certificates, readOnly: true}
{{- end }}
{{- end -}}
{{- define "millstream.extraVolumes" -}}
{{- if .Values.catalogue }}
- name: catalogue
  configMap:
    name: {{ include "millstream.name" (list . "catalogue") }}
{{- end }}
{{- if .Values.limits }}
- name: limits
  configMap:
    name: {{ include "millstream.name" (list . "limits") }}
{{- end }}
{{- with .Values.certificates.existingConfigMap }}
- name: certificates
  configMap: {name: {{ . }}}
{{- end }}
{{- end -}}

{{/* Changes when the configuration does, so that pods are replaced. */}}
{{- define "millstream.configChecksum" -}}
{{ include (print .Template.BasePath "/configmap.yaml") . | sha256sum | trunc 16 }}
{{- end -}}

{{/* Which of the worker's images computes an entry: (worker) */}}
{{- define "millstream.workerImage" -}}
inference-worker{{ if .gpu }}-cuda{{ else if not .torch }}-openvino{{ end }}
{{- end -}}

{{/* A worker: an entry of `models` over the defaults: (list $ entry), as JSON. One with GPUs asks for them, and goes
where they are. */}}
{{- define "millstream.worker" -}}
{{- $worker := mergeOverwrite (deepCopy (index . 0).Values.worker) (deepCopy (index . 1)) -}}
{{- if $worker.gpu -}}
{{- range list $worker.resources.requests $worker.resources.limits }}{{ $_ := set . "nvidia.com/gpu" (toString $worker.gpu) }}{{ end -}}
{{- $taint := dict "key" "nvidia.com/gpu" "operator" "Exists" "effect" "NoSchedule" -}}
{{- $_ := set $worker "tolerations" (append $worker.tolerations $taint) -}}
{{- end -}}
{{- toJson $worker -}}
{{- end -}}

{{/* Whether all parts of a `versions` are names of a `model:version`: (list "a:1" "b-*") */}}
{{- define "millstream.areNamed" -}}
{{- $named := true -}}
{{- range . }}{{ if not (regexMatch "^[^!*?:]+:[^*?]+$" .) }}{{ $named = false }}{{ end }}{{ if hasPrefix "group:" . }}{{ $named = false }}{{ end }}{{ end -}}
{{- if $named }}yes{{ end -}}
{{- end -}}

{{/* Names and patterns as one regular expression of `model:version`: (list "a" "b-*:1"). A model is all its versions. */}}
{{- define "millstream.regex" -}}
{{- $all := list -}}
{{- range . }}{{ $all = append $all (. | replace "." "[.]" | replace "*" ".*" | replace "?" ".") }}{{ end -}}
({{ join "|" $all }})(:.+)?
{{- end -}}

{{/* The parts of a `versions`, as JSON: names, groups, and those of either that are left out */}}
{{- define "millstream.selection" -}}
{{- $parts := dict "names" list "groups" list "notNames" list "notGroups" list -}}
{{- range . -}}
{{- $kind := hasPrefix "group:" (trimPrefix "!" .) | ternary "groups" "names" -}}
{{- if hasPrefix "!" . }}{{ $kind = printf "not%s" (title $kind) }}{{ end -}}
{{- $_ := set $parts $kind (append (get $parts $kind) (trimPrefix "group:" (trimPrefix "!" .))) -}}
{{- end -}}
{{- if not (or $parts.names $parts.groups) }}{{ $_ := set $parts "names" (list "*") }}{{ end -}}
{{- toJson $parts -}}
{{- end -}}

{{/* Whether a `versions` selects a model:version; groups, of which the chart does not know, may be taken to:
(list versions "a:1" true) */}}
{{- define "millstream.serves" -}}
{{- $parts := include "millstream.selection" (index . 0) | fromJson -}}
{{- $fits := or (and $parts.groups (index . 2)) (and $parts.names (regexMatch (printf "^(%s)$" (include "millstream.regex" $parts.names)) (index . 1))) -}}
{{- $not := and $parts.notNames (regexMatch (printf "^(%s)$" (include "millstream.regex" $parts.notNames)) (index . 1)) -}}
{{- if and $fits (not $not) }}yes{{ end -}}
{{- end -}}

{{/* Address of the Redis that KEDA asks */}}
{{- define "millstream.redisAddress" -}}
{{- if .Values.redis.enabled -}}
{{ include "millstream.name" (list . "redis") }}.{{ .Release.Namespace }}.svc:6379
{{- else -}}
{{ required "redis.external.address: KEDA wants host:port of your Redis" .Values.redis.external.address }}
{{- end -}}
{{- end -}}

{{- define "millstream.prometheusUrl" -}}
http://{{ include "millstream.name" (list . "prometheus") }}.{{ .Release.Namespace }}.svc:9090
{{- end -}}

{{/* The Prometheus that KEDA asks; empty for none */}}
{{- define "millstream.kedasPrometheus" -}}
{{- if .Values.autoscaling.keda.prometheusUrl -}}
{{ .Values.autoscaling.keda.prometheusUrl }}
{{- else if .Values.prometheus.enabled -}}
{{ include "millstream.prometheusUrl" . }}
{{- end -}}
{{- end -}}
