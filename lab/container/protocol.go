// Package container runs processes the way a container runtime does: each
// task has a process group of its own, and all that it ever forked ends with
// it, daemons with sessions of their own included.
//
// The tasks run below one small process, the runtime, which adopts every
// orphan among its descendants. It reads requests from the lab through a pipe.
// When the pipe closes, because the lab ended or was killed, the runtime kills
// everything of the lab, removes its scratch directory, and ends.
package container

import "time"

// EnvLab is set in every process of a lab to the lab's name, so that leftovers
// can be told from other processes.
const EnvLab = "TANDEM_LAB_ID"

// envTask is set in every process of a task to the task's name.
const envTask = "TANDEM_LAB_TASK"

// The requests of the lab.
const (
	opStart = "start"
	opKill  = "kill"
	opStop  = "stop"
)

// The events of the runtime.
const (
	eventStarted = "started"
	eventRefused = "refused"
	eventExited  = "exited"
	eventGone    = "gone"
)

// request is one line from the lab to the runtime.
type request struct {
	Op   string `json:"op"`
	Task string `json:"task"`

	Spec *Spec `json:"spec,omitempty"`

	// Name limits a kill to the task's processes of that command name.
	Name string `json:"name,omitempty"`
	// Grace is the time between SIGTERM and SIGKILL of a stop.
	Grace time.Duration `json:"grace,omitempty"`
}

// event is one line from the runtime to the lab.
type event struct {
	Event  string `json:"event"`
	Task   string `json:"task"`
	PID    int    `json:"pid,omitempty"`
	Code   int    `json:"code,omitempty"`
	Signal int    `json:"signal,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Spec says what a task runs.
type Spec struct {
	// Args is the command line; Args[0] is looked up in the PATH of Env.
	Args []string `json:"args"`
	// Env is the whole environment, as "KEY=value".
	Env []string `json:"env"`
	// Dir is the working directory.
	Dir string `json:"dir"`
	// Log receives both outputs; the file is appended to.
	Log string `json:"log"`
}
