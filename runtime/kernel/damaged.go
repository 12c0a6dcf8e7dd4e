package kernel

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/cluster/local"
	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
)

// errDamaged is the kind of a file of the kernel's own that was set aside: no such file keeps a node from starting.
var errDamaged = cause.Define("CBN-CFG-095", "A file of the kernel's own state was damaged; it was set aside and made anew.",
	"Look at the file that is named, and at the disk. What it held beyond what could be learned anew is lost.")

// setAside renames a damaged file of repository/data/kernel and says so.
func (k *Kernel) setAside(folder, name string, reason error) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	kept, err := durable.SetAside(root, name, time.Now())
	if err != nil {
		return err
	}
	k.sayDamaged(filepath.Join(folder, kept), reason)
	return nil
}

func (k *Kernel) sayDamaged(kept string, reason error) {
	k.log.Warn("a damaged file was set aside", "cause", errDamaged.Wrap(reason, "%s", kept))
}

// nodeIDMost is the longest id that a node may be given.
const nodeIDMost = 128

// readNodeID is the node's id, made at the first start.
func (k *Kernel) readNodeID(folder string) (string, error) {
	const name = "node-id"
	made := func() string {
		b := make([]byte, 8)
		_, _ = rand.Read(b) // never fails (crypto/rand)
		return hex.EncodeToString(b)
	}
	id, err := remembered(filepath.Join(folder, name), made)
	if err != nil {
		return "", err
	}
	if len(id) <= nodeIDMost && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return id, nil
	}
	if err := k.setAside(folder, name, errors.New("it is no printable word")); err != nil {
		return "", err
	}
	return remembered(filepath.Join(folder, name), made)
}

// lockPatience is how long a start waits for the processes of a server that was killed a moment ago: they end by themselves.
const lockPatience = 5 * time.Second

// openCoordinator opens the shared state of a cluster of one. Damaged state is begun anew, with numbers above all that were given: they
// are counted one by one, and the clock's milliseconds are more.
func (k *Kernel) openCoordinator(folder string) (cluster.Coordinator, error) {
	c, err := local.Open(folder, k.nodeID, "127.0.0.1")
	for began := time.Now(); errors.Is(err, cluster.ErrInUse) && time.Since(began) < lockPatience && !k.answered(); {
		time.Sleep(50 * time.Millisecond)
		c, err = local.Open(folder, k.nodeID, "127.0.0.1")
	}
	if errors.Is(err, cluster.ErrDamaged) {
		if err := k.setAside(folder, local.StateFile, err); err != nil {
			return nil, err
		}
		c, err = local.Begin(folder, k.nodeID, "127.0.0.1", uint64(time.Now().UnixMilli()))
	}
	if err != nil {
		return nil, err // not c: a nil *local.Coordinator would be no nil Coordinator
	}
	return c, nil
}

// nextRun counts kernel runs of this installation. A damaged count goes on with the seconds since 1970, which are more than any count of
// starts: the number only has to grow.
func (k *Kernel) nextRun(folder string) (uint64, error) {
	const name = "runs"
	path := filepath.Join(folder, name)
	text, err := remembered(path, func() string { return "0" })
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		if err := k.setAside(folder, name, err); err != nil {
			return 0, err
		}
		n = uint64(time.Now().Unix())
	}
	return n + 1, os.WriteFile(path, []byte(strconv.FormatUint(n+1, 10)+"\n"), 0o600)
}

// answered tells whether another server of this installation answers on its admin socket.
func (k *Kernel) answered() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := admin.Dial(ctx, filepath.Join(k.home, "repository", "run"))
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said
	return true
}
