package gcs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// maxToken is more than any token has; a larger file is not one.
const maxToken = 64 << 10

// tokenFile is a bearer token in a file that somebody else replaces now and then.
type tokenFile struct {
	path string

	mu    sync.Mutex
	mtime time.Time
	size  int64
	token string
}

// read gives the token, from memory while the file has not changed. The token
// itself is never part of an error.
func (t *tokenFile) read() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := os.Open(t.path)
	if err != nil {
		return "", fmt.Errorf("reading the GCS token: %w", err)
	}
	defer func() { _ = f.Close() }()
	stat, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading the GCS token: %w", err)
	}
	if t.token != "" && stat.ModTime().Equal(t.mtime) && stat.Size() == t.size {
		return t.token, nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("reading the GCS token: %w", err)
	}
	token, err := checkToken(b)
	if err != nil {
		return "", fmt.Errorf("reading the GCS token from %s: %w", t.path, err)
	}
	t.token, t.mtime, t.size = token, stat.ModTime(), stat.Size()
	return token, nil
}

// checkToken keeps what could not travel in a header from reaching grpc, whose
// error would show it.
func checkToken(b []byte) (string, error) {
	if len(b) > maxToken {
		return "", fmt.Errorf("the file is larger than %d bytes", maxToken)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", errors.New("the file is empty")
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return "", fmt.Errorf("byte %d is not a printable ASCII character", i)
		}
	}
	return token, nil
}
