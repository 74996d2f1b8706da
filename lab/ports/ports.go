// Package ports leases blocks of TCP ports that no other lab on the machine
// uses.
//
// Ray processes that share a host choose ports before they bind them, so every
// Ray pod must own its ports beforehand. The range lies below 20000, where
// Cluster API's in-memory provider listens, and so below the range from which
// Linux takes ports of outgoing connections.
package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Size of a block, and the blocks between 11000 and 20000. Those below are left
// to the ports that Ray's clients know.
const (
	Size   = 40
	first  = 11000
	blocks = 225
)

// ErrNone says that every block is taken.
var ErrNone = errors.New("ports: no free block of ports between 11000 and 20000")

// Leaser hands out blocks. The kernel drops a lease with the process that
// holds it, whatever its end.
type Leaser struct {
	dir string

	mu   sync.Mutex
	next int
}

// Block is a leased run of [Size] ports.
type Block struct {
	index int
	lock  *os.File
}

// NewLeaser makes a Leaser for the machine.
func NewLeaser() (*Leaser, error) {
	dir := filepath.Join(os.TempDir(), "tandem-lab-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil { //nolint:gosec // Labs of all users of the machine share the leases.
		return nil, fmt.Errorf("creating the directory of port leases: %w", err)
	}
	// Directories that the umask narrowed would shut out other users.
	_ = os.Chmod(dir, 0o777) //nolint:gosec // As above; it fails if another user made it.
	return &Leaser{dir: dir, next: os.Getpid() % blocks}, nil
}

// Lease takes a block whose ports nobody listens on. Blocks are taken in turn,
// so that a block rests before it is used again.
func (l *Leaser) Lease(ctx context.Context) (*Block, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range blocks {
		index := l.next
		l.next = (l.next + 1) % blocks
		b, err := l.try(ctx, index)
		if err != nil {
			return nil, err
		}
		if b != nil {
			return b, nil
		}
	}
	return nil, ErrNone
}

// try returns nil if the block is taken.
func (l *Leaser) try(ctx context.Context, index int) (*Block, error) {
	f, err := os.OpenFile(filepath.Join(l.dir, strconv.Itoa(index)), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening a port lease: %w", err)
	}
	b := &Block{index: index, lock: f}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || !b.free(ctx) {
		b.Release()
		return nil, nil //nolint:nilerr // A block that is taken is no error.
	}
	return b, nil
}

func (b *Block) free(ctx context.Context) bool {
	for i := range Size {
		var c net.ListenConfig
		s, err := c.Listen(ctx, "tcp", ":"+strconv.Itoa(b.Port(i)))
		if err != nil {
			return false
		}
		_ = s.Close()
	}
	return true
}

// Index is unique among the leases of the machine, from 0 to 224.
func (b *Block) Index() int { return b.index }

// Port is the i-th port of the block, for i from 0 to [Size] - 1.
func (b *Block) Port(i int) int { return first + b.index*Size + i }

// Release gives the block back. It may be called more than once.
func (b *Block) Release() {
	if b != nil {
		_ = b.lock.Close()
	}
}
