#!/bin/sh
# Copies the CRDs and webhook manifests that the lab installs from the Go
# modules they come with to a directory (default: bin/assets of the
# repository), so that bin/lab needs no Go at run time.
# Usage: lab/assets.sh [DIRECTORY]
set -eu
lab=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${1:-$lab/../bin/assets}
cd "$lab"

capv=sigs.k8s.io/cluster-api-provider-vsphere@v1.16.1

# The directory of a module that lab/go.mod names.
module() {
	dir=$(go list -m -f '{{.Dir}}' "$1")
	if [ -z "$dir" ]; then
		go mod download "$1" >&2
		dir=$(go list -m -f '{{.Dir}}' "$1")
	fi
	echo "$dir"
}

core=$(module sigs.k8s.io/cluster-api)
dev=$(module sigs.k8s.io/cluster-api/test)
ray=$(module github.com/ray-project/kuberay/ray-operator)
# Only data are taken from this one, so no go.mod names it.
vsphere=$(cd / && go mod download -json "$capv" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')

rm -rf "$out.new"
mkdir -p "$out.new/core" "$out.new/dev" "$out.new/ray" "$out.new/vsphere" "$out.new/webhooks"
cp "$core"/core/config/crd/bases/*.yaml "$out.new/core/"
cp "$dev"/infrastructure/docker/config/crd/bases/infrastructure.cluster.x-k8s.io_dev*.yaml "$out.new/dev/"
cp "$ray"/config/crd/bases/ray.io_rayclusters.yaml "$out.new/ray/"
cp "$vsphere"/config/supervisor/crd/bases/vmware.infrastructure.cluster.x-k8s.io_vspheremachinetemplates.yaml \
	"$vsphere"/config/deployments/integration-tests/crds/vmoperator.vmware.com_virtualmachineclasses.yaml \
	"$out.new/vsphere/"
cp "$core"/core/config/webhook/manifests.yaml "$out.new/webhooks/core.yaml"
cp "$dev"/infrastructure/docker/config/webhook/manifests.yaml "$out.new/webhooks/dev.yaml"
chmod -R u+w "$out.new"
rm -rf "$out"
mv "$out.new" "$out"
