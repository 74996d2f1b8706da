// Command lab is a whole local control plane in one file: etcd, API servers,
// Cluster API, KubeRay, a simulated vCenter and real Ray.
package main

import (
	"os"
	"path/filepath"

	"github.com/tandem-autoscaler/tandem/lab/cmd"
	"github.com/tandem-autoscaler/tandem/lab/component"
)

// The name by which the binary is called decides what it is, so that one file
// serves as every process of the lab.
func main() {
	if name := filepath.Base(os.Args[0]); component.Known(name) {
		os.Exit(component.Main(name))
	}
	os.Exit(cmd.Execute())
}
