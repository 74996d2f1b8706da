// Package component holds the processes that the lab's binary becomes when it
// is called by their name.
package component

import (
	"os"
	"slices"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"github.com/tandem-autoscaler/tandem/lab/container"
)

// The names of the processes.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	Scheduler         = "kube-scheduler"
	ControllerManager = "kube-controller-manager"
	Runtime           = "lab-runtime"
)

// Names lists every process that the binary can become.
func Names() []string {
	return []string{Etcd, APIServer, Scheduler, ControllerManager, Runtime}
}

// Known says whether the binary has a process of that name.
func Known(name string) bool { return slices.Contains(Names(), name) }

// Main becomes the named process and returns its exit code. A process of the
// control plane ends when its parent does; the container runtime outlives the
// lab just long enough to clean up after it.
func Main(name string) int {
	if name == Runtime {
		return container.Serve(os.Stdin, os.Stdout)
	}
	go exitWithParent(500 * time.Millisecond)
	switch name {
	case Etcd:
		etcdmain.Main(os.Args)
		return 0
	case APIServer:
		return cli.Run(apiserver.NewAPIServerCommand())
	case Scheduler:
		return cli.Run(scheduler.NewSchedulerCommand())
	case ControllerManager:
		return cli.Run(controllermanager.NewControllerManagerCommand())
	}
	return 1
}

// exitWithParent backs up the parent-death signal, which Linux ties to the
// thread that forked and not to the parent process.
func exitWithParent(every time.Duration) {
	for parent := os.Getppid(); os.Getppid() == parent; {
		time.Sleep(every)
	}
	os.Exit(1)
}
