{{/* What the schema can't say: relations between values. */}}
{{- define "millstream.checks" -}}
{{- if not .Values.models }}{{ fail "models: no worker is left; name at least one" }}{{ end -}}
{{- if gt (len (include "millstream.name" (list . ""))) 40 }}{{ fail "namePrefix: names would be too long; give a prefix of 40 characters at most (unset, it is the release's name and a hyphen)" }}{{ end -}}
{{- $tested := false -}}
{{- $pods := dict "api" .Values.api "persister" .Values.persister -}}
{{- range $key, $entry := .Values.models -}}
  {{- $_ := set $pods (printf "models.%s" $key) (include "millstream.worker" (list $ $entry) | fromJson) -}}
  {{- if include "millstream.serves" (list $entry.versions $.Values.test.version true) }}{{ $tested = true }}{{ end -}}
  {{- if and (eq $.Values.autoscaling.mode "keda") (not (include "millstream.areNamed" $entry.versions)) (not (include "millstream.kedasPrometheus" $)) -}}
    {{- fail (printf "models.%s: KEDA asks Prometheus for the depth of what patterns and groups select; set autoscaling.keda.prometheusUrl, or name each model:version" $key) -}}
  {{- end -}}
  {{- range $version := $entry.versions -}}
    {{- if regexMatch "^!?group:.*[*?]" $version }}{{ fail (printf "models.%s.versions: %s: a group is named whole" $key $version) }}{{ end -}}
    {{- range $other, $others := $.Values.models -}}
      {{- if and (ne $key $other) (include "millstream.areNamed" (list $version)) (include "millstream.serves" (list $others.versions $version false)) -}}
        {{- fail (printf "models.%s serves %s, which models.%s serves too: both would be scaled on its queue" $key $version $other) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $key, $pod := $pods -}}
  {{- $limits := $pod.autoscaling -}}
  {{- if gt (int $limits.minReplicas) (int $limits.maxReplicas) -}}
    {{- fail (printf "%s.autoscaling: minReplicas (%v) is above maxReplicas (%v)" $key $limits.minReplicas $limits.maxReplicas) -}}
  {{- end -}}
{{- end -}}
{{- if not $tested -}}
  {{- fail (printf "test.version: %s is served by no entry of models" .Values.test.version) -}}
{{- end -}}
{{- $grace := include "millstream.setting" (list . .Values.api.settings "SHUTDOWN_GRACE_S" 30) | float64 -}}
{{- $delay := include "millstream.setting" (list . .Values.api.settings "DRAIN_DELAY_S" 1) | float64 -}}
{{- if ge $delay $grace -}}
  {{- fail (printf "settings: DRAIN_DELAY_S (%v) must be below SHUTDOWN_GRACE_S (%v)" $delay $grace) -}}
{{- end -}}
{{- if .Values.postgres.enabled -}}
  {{- $most := 10 -}}{{/* the migrate step, and people */}}
  {{- range $of, $each := dict "api" .Values.api "persister" .Values.persister -}}
    {{- $replicas := ternary $each.replicas $each.autoscaling.maxReplicas (eq $.Values.autoscaling.mode "none") -}}
    {{- $pool := include "millstream.setting" (list $ $each.settings "DATABASE_POOL_SIZE" 4) | int -}}
    {{- if eq $of "api" }}{{ $pool = add $pool 2 }}{{ end -}}{{/* for API keys */}}
    {{- $most = add $most (mul (add1 $replicas) $pool) -}}
  {{- end -}}
  {{- if gt (int $most) (int .Values.postgres.maxConnections) -}}
    {{- fail (printf "postgres.maxConnections (%v) is too few: all replicas, one more of each while they are replaced, with DATABASE_POOL_SIZE each, 2 more of each api, and 10 besides may open %v" .Values.postgres.maxConnections $most) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.grafana.enabled (not .Values.prometheus.enabled) (not .Values.grafana.prometheusUrl) -}}
  {{- fail "grafana.prometheusUrl: name the Prometheus to show, or set prometheus.enabled" -}}
{{- end -}}
{{- end -}}
