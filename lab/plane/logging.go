package plane

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	"sigs.k8s.io/cluster-api/feature"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Kubernetes' libraries keep their loggers and feature gates in package
// variables, so this part of a lab is one per process: it follows the lab that
// started last.
var (
	librariesOnce sync.Once
	librariesLog  currentFile
	errLibraries  error
)

// currentFile is a sink that writes to the file of the moment.
type currentFile struct{ file atomic.Pointer[os.File] }

// Write drops what is written while there is no file.
func (c *currentFile) Write(b []byte) (int, error) {
	if f := c.file.Load(); f != nil {
		return f.Write(b)
	}
	return len(b), nil
}

// Sync does nothing: the kernel has what was written.
func (c *currentFile) Sync() error { return nil }

// openControllerLog sends the logs of all controllers to controllers.log.
func (p *Plane) openControllerLog() error {
	f, err := os.OpenFile(filepath.Join(p.dir, "controllers.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of the controllers: %w", err)
	}
	p.controllersFile = f
	core := zapcore.NewCore(logEncoder(), zapcore.Lock(f), zapcore.InfoLevel)
	p.controllers = zapr.NewLogger(zap.New(core))
	librariesLog.file.Store(f)
	librariesOnce.Do(func() {
		core := zapcore.NewCore(logEncoder(), &librariesLog, zapcore.InfoLevel)
		l := zapr.NewLogger(zap.New(core))
		klog.SetLogger(l)
		ctrl.SetLogger(l)
		errLibraries = feature.MutableGates.SetFromMap(map[string]bool{
			"ClusterTopology": true, "MachinePool": false,
			// It limits every object to one reconcile a second.
			"ReconcilerRateLimiting": false,
		})
	})
	if errLibraries != nil {
		return fmt.Errorf("setting the feature gates of Cluster API: %w", errLibraries)
	}
	return nil
}

func logEncoder() zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.ISO8601TimeEncoder
	return zapcore.NewConsoleEncoder(c)
}

func (p *Plane) closeControllerLog() {
	if p.controllersFile != nil {
		librariesLog.file.CompareAndSwap(p.controllersFile, nil)
		_ = p.controllersFile.Close()
	}
}

// controllerLog is the log of one manager.
func (p *Plane) controllerLog(name string) logr.Logger { return p.controllers.WithName(name) }
