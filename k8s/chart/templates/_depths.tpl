{{/* Whether a label selector can say just which versions these are: "these models in these versions" */}}
{{- define "millstream.byModel" -}}
{{- $byModel := dict -}}
{{- range . -}}
{{- $parts := splitList ":" . -}}
{{- $_ := set $byModel (index $parts 0) (append (get $byModel (index $parts 0) | default list) (index $parts 1)) -}}
{{- end -}}
{{- $sets := list -}}
{{- range $byModel }}{{ $sets = append $sets (sortAlpha . | join ",") }}{{ end -}}
{{- if eq (len (uniq $sets)) 1 }}{{ dict "models" (keys $byModel | sortAlpha) "versions" (values $byModel | first | sortAlpha) | toJson }}{{ end -}}
{{- end -}}

{{/* That, as JSON; empty if none can: then a rule adds their depths up */}}
{{- define "millstream.selectable" -}}
{{- if include "millstream.areNamed" . }}{{ include "millstream.byModel" . }}{{ end -}}
{{- end -}}

{{/* The depths of what is selected, by names and by groups: (list $ names groups) */}}
{{- define "millstream.depthsOf" -}}
{{- $depth := "namespace_served:millstream_queue_depth:max" -}}
{{- $namespace := printf "namespace=%q" (index . 0).Release.Namespace -}}
{{- $all := list -}}
{{- with index . 1 }}{{ $all = append $all (printf "%s{%s,served=~%q}" $depth $namespace (include "millstream.regex" .)) }}{{ end -}}
{{- with index . 2 }}{{ $all = append $all (printf "(%s{%s} and on (namespace, model) millstream_model_group{%s,group=~%q})" $depth $namespace $namespace (join "|" . | replace "." "[.]")) }}{{ end -}}
{{- join " or " $all -}}
{{- end -}}

{{/* Rules that add up the depths of the workers' streams, where a label selector cannot; empty where all can. */}}
{{- define "millstream.workerRules" -}}
{{- $rules := list -}}
{{- range $key, $entry := .Values.models -}}
{{- if not (include "millstream.selectable" $entry.versions) -}}
{{- $parts := include "millstream.selection" $entry.versions | fromJson -}}
{{- $expression := include "millstream.depthsOf" (list $ $parts.names $parts.groups) -}}
{{- with include "millstream.depthsOf" (list $ $parts.notNames $parts.notGroups) }}{{ $expression = printf "(%s) unless (%s)" $expression . }}{{ end -}}
{{- $labels := dict "worker" (include "millstream.name" (list $ (printf "worker-%s" $key))) -}}
{{- $rules = append $rules (dict "record" "namespace_worker:millstream_queue_depth:sum" "expr" (printf "sum by (namespace) (%s)" $expression) "labels" $labels) -}}
{{- end -}}
{{- end -}}
{{- if $rules -}}
# What each worker is scaled on: the depths of all streams that it serves.
groups:
  - name: millstream-recorded-workers
    rules:
      - record: namespace_served:millstream_queue_depth:max
        expr: label_join(namespace_model_version:millstream_queue_depth:max, "served", ":", "model", "version")
      {{- toYaml $rules | nindent 6 }}
{{- end -}}
{{- end -}}
