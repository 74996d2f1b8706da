#!/usr/bin/env bash
# Generates autoscalerpb and commonpb from the .proto files beside this script.
# Its tools have exact versions and stay inside ignored folders of the
# repository: .venv-gen/ (protoc, from PyPI) and bin/ (the Go plugins).
set -euo pipefail

grpcio_tools=1.76.0
protobuf_py=6.33.1
setuptools=80.9.0
protoc_gen_go=v1.36.11
protoc_gen_go_grpc=v1.6.2

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
cd "$root"

venv=.venv-gen
want="grpcio-tools==$grpcio_tools protobuf==$protobuf_py setuptools==$setuptools"
if [[ "$(cat "$venv/.installed" 2>/dev/null || true)" != "$want" ]]; then
  python3 -m venv "$venv"
  # shellcheck disable=SC2086 # one word for each requirement
  "$venv/bin/pip" install --quiet --disable-pip-version-check "grpcio==$grpcio_tools" $want
  echo "$want" >"$venv/.installed"
fi

export GOBIN="$root/bin"
go install "google.golang.org/protobuf/cmd/protoc-gen-go@$protoc_gen_go"
go install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$protoc_gen_go_grpc"

# The root of the repository is the import path, so that the files are known to
# the Go runtime by names that no other module uses.
module=$(go list -m)
PATH="$GOBIN:$PATH" "$venv/bin/python" -m grpc_tools.protoc -I . \
  --go_out=. --go_opt=module="$module" \
  --go-grpc_out=. --go-grpc_opt=module="$module" \
  pkg/demand/gcs/common.proto pkg/demand/gcs/autoscaler.proto
