package depsync

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/digest"
	"carbonado.dev/sdk/cause"
)

// changingWait is the time until a file that changed is looked at again.
const changingWait = 2 * time.Second

// partialMost is how long a file that is being written keeps others from making a generation without it.
const partialMost = 30 * time.Second

// debounceMost times Times.Debounce is the longest that one ring after the other puts a look off.
const debounceMost = 10

// Options of a Node.
type Options struct {
	// ID of this node among the cluster's members.
	ID          string
	Coordinator cluster.Coordinator
	// Folder is the absolute path of the deployment folder, Store that of the folder for contents and state, which is made if missing.
	Folder, Store string
	// Files makes this node the committer: the digests by path of the files that lie in Folder whole. One that is being written has the
	// digest that it had before; where that is none it is left out, and whole is false. It must not block. nil: this node follows.
	Files func() (files map[string]string, whole bool)
	// Alone says that there is no other node: the committer's place of a node that this one was before is taken over.
	Alone bool
	// Sources are who may have contents now, the first to be asked first. nil means nobody.
	Sources func(ctx context.Context) []BlobSource
	Times   Times
	// Now is the clock of times for people; nil means time.Now.
	Now func() time.Time
	Log hclog.Logger
}

// Node is this node's part in keeping deployment folders equal. Its methods are safe for concurrent use; Run must run once at most.
type Node struct {
	id      string
	c       cluster.Coordinator
	folder  string
	store   *Store
	files   func() (map[string]string, bool)
	alone   bool
	sources func(ctx context.Context) []BlobSource
	times   Times
	now     func() time.Time
	log     hclog.Logger
	rings   chan struct{}
	// step is called before each change of disk or shared state; an error ends what is under way, as a crash would.
	step func(what string) error

	turn     sync.Mutex // held while the node looks; guards what follows
	digests  digest.Cache
	verified time.Time // when the folder was last found equal to base; zero if it is not known to be
	cleaned  bool      // what a crash left half written is gone
	unsure   bool      // the folder was written to: Files may not know it yet
	partial  time.Time // since when Files leaves something out; zero if it does not

	mu      sync.Mutex // guards what follows
	kept    kept
	problem error
}

// New opens the store. The caller closes the node.
func New(o Options) (*Node, error) {
	n := &Node{
		id: o.ID, c: o.Coordinator, folder: o.Folder, files: o.Files, alone: o.Alone, sources: o.Sources, times: o.Times.orDefaults(), now: o.Now,
		log: o.Log, rings: make(chan struct{}, 1), step: func(string) error { return nil },
	}
	if n.now == nil {
		n.now = time.Now
	}
	if n.log == nil {
		n.log = hclog.NewNullLogger()
	}
	if n.sources == nil {
		n.sources = func(context.Context) []BlobSource { return nil }
	}
	var err error
	if n.store, err = OpenStore(o.Store, n.now); err != nil {
		return nil, err
	}
	if n.kept, err = n.store.load(); err != nil {
		return nil, errors.Join(err, n.store.Close())
	}
	return n, nil
}

// Close lets go of the store. Run must have ended.
func (n *Node) Close() error { return n.store.Close() }

// Store is where this node keeps contents, for Handler.
func (n *Node) Store() *Store { return n.store }

// Ring says that the deployment folder has changed. It never blocks.
func (n *Node) Ring() {
	select {
	case n.rings <- struct{}{}:
	default:
	}
}

// Base is the generation that the deployment folder was last equal to.
func (n *Node) Base() Pointer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kept.Base
}

// Problem is what keeps this node from doing its part; nil for nothing.
func (n *Node) Problem() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.problem
}

// Run looks at each news until ctx ends: of the pointer, of the folder, and every Times.Reread, for what was missed.
func (n *Node) Run(ctx context.Context) {
	var watch <-chan cluster.Value
	var rung time.Time // the first ring since the last look
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		if watch == nil && n.files == nil {
			watch = n.watch(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-watch:
			if !ok {
				watch = nil
				due.Reset(n.jittered(n.times.Reread))
				continue
			}
		case <-n.rings:
			if rung.IsZero() {
				rung = time.Now()
			}
			due.Reset(min(n.times.Debounce, time.Until(rung.Add(debounceMost*n.times.Debounce))))
			continue
		case <-due.C:
		}
		rung = time.Time{}
		err := n.Look(ctx) // it is kept in problem, and told there
		due.Reset(n.jittered(n.times.Reread))
		if errors.Is(err, ErrChanging) {
			due.Reset(min(changingWait, n.times.Reread))
		}
	}
}

// jittered keeps nodes from asking all at the same moment.
func (n *Node) jittered(d time.Duration) time.Duration { return d + rand.N(d/8+1) }

// watch is nil while there is none to be had: the next look tries again.
func (n *Node) watch(ctx context.Context) <-chan cluster.Value {
	w, err := n.c.Watch(ctx, keyCurrent)
	if err != nil {
		return nil
	}
	return w
}

// Look does what is to be done now: the committer makes a generation of what is new, a follower comes to the present one. Both report.
func (n *Node) Look(ctx context.Context) error {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.files != nil {
		return n.finish(ctx, n.commit(ctx, false))
	}
	return n.finish(ctx, n.follow(ctx))
}

// finish notes how a look ended, and reports.
func (n *Node) finish(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	n.mu.Lock()
	before := n.problem
	n.problem = err
	n.mu.Unlock()
	if err != nil && !errors.Is(err, ErrChanging) && (before == nil || before.Error() != err.Error()) {
		n.log.Warn("the deployment folder is not equal to the cluster's", "cause", cause.From(err))
	}
	return errors.Join(err, n.report(ctx))
}

// follow brings the folder to the present generation. It never makes one.
func (n *Node) follow(ctx context.Context) error {
	p, _, err := n.pointer(ctx)
	if err != nil || p.Generation == 0 {
		return err
	}
	base := n.Base()
	if p.Generation < base.Generation {
		return ErrOlder.New("the cluster's generation is %d, this node has %d", p.Generation, base.Generation)
	}
	if p.Digest == base.Digest && time.Since(n.verified) < n.times.Verify {
		if p.Generation != base.Generation {
			return n.note(p)
		}
		return nil
	}
	return n.take(ctx, p)
}

// take fetches a generation, lays it and notes it.
func (n *Node) take(ctx context.Context, p Pointer) error {
	m, err := n.manifest(ctx, p.Digest)
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := n.fetch(ctx, f.Digest, f.Size); err != nil {
			return err
		}
	}
	root, err := n.open()
	if err != nil {
		return err
	}
	defer root.Close()
	n.verified = time.Time{}
	changed, err := n.lay(ctx, root, m)
	if err != nil {
		return onDisk(err, "generation %d can't be laid into %s", p.Generation, n.folder)
	}
	n.verified = time.Now()
	n.unsure = n.files != nil
	if base := n.Base(); base.Generation == p.Generation && base.Digest == p.Digest && changed == 0 {
		return nil
	}
	n.log.Info("the deployment folder has the cluster's generation", "generation", p.Generation, "digest", p.Digest, "changed", changed)
	return n.note(p)
}

// manifest is a generation's list of files, from the store or from another node. A damaged one is fetched again.
func (n *Node) manifest(ctx context.Context, digest string) (Manifest, error) {
	m, err := n.store.manifest(digest)
	if errors.Is(err, ErrContent) {
		if err := n.store.drop(digest); err != nil {
			return Manifest{}, onDisk(err, "the damaged content %s can't be removed", digest)
		}
	}
	if errors.Is(err, ErrContent) || errors.Is(err, fs.ErrNotExist) {
		if err := n.fetch(ctx, digest, -1); err != nil {
			return Manifest{}, err
		}
		m, err = n.store.manifest(digest)
	}
	return m, err
}

// onDisk gives errors that have no kind the disk's.
func onDisk(err error, format string, args ...any) error {
	var known *cause.Error
	if errors.As(err, &known) {
		return err
	}
	return ErrDisk.Wrap(err, format, args...)
}

// open opens the deployment folder as it is now: it may be another one than a moment ago.
func (n *Node) open() (*os.Root, error) {
	root, err := os.OpenRoot(n.folder)
	if err != nil {
		return nil, ErrDisk.Wrap(err, "the deployment folder can't be opened")
	}
	return root, nil
}

// time is the clock as it is written down.
func (n *Node) time() time.Time { return n.now().UTC().Round(0) }

// device is the file system that the folder lies on.
func device(root *os.Root) uint64 {
	if info, err := root.Stat("."); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			return uint64(st.Dev)
		}
	}
	return 0
}

// note remembers which generation the folder is equal to.
func (n *Node) note(p Pointer) error {
	if err := n.step("note"); err != nil {
		return err
	}
	root, err := n.open()
	if err != nil {
		return err
	}
	dev := device(root)
	if err := root.Close(); err != nil {
		return ErrDisk.Wrap(err, "the deployment folder can't be closed")
	}
	n.mu.Lock()
	k := n.kept
	n.mu.Unlock()
	if k.Base.Generation != p.Generation || k.Base.Digest != p.Digest {
		k.At = n.time()
		list := []Pointer{p}
		for _, g := range k.Generations {
			if g.Generation != p.Generation && len(list) < keptGenerations {
				list = append(list, g)
			}
		}
		k.Generations = list
	}
	k.Base, k.Device = p, dev
	if err := n.store.save(k); err != nil {
		return err
	}
	n.mu.Lock()
	n.kept = k
	n.mu.Unlock()
	return nil
}

// pointer reads the present generation and its version.
func (n *Node) pointer(ctx context.Context) (Pointer, uint64, error) {
	var p Pointer
	version, err := n.get(ctx, keyCurrent, &p)
	return p, version, err
}

// get reads a key into a value, which stays as it is if the key is absent.
func (n *Node) get(ctx context.Context, key string, into any) (version uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, n.times.Call)
	defer cancel()
	v, err := n.c.Get(ctx, key)
	if err != nil || !v.Found {
		return 0, err
	}
	if err := json.Unmarshal(v.Bytes, into); err != nil {
		return 0, ErrManifest.Wrap(err, "%s of the shared state can't be read", key)
	}
	return v.Version, nil
}

// set writes a key under a version.
func (n *Node) set(ctx context.Context, key string, value any, version uint64) error {
	if err := n.step("set " + key); err != nil {
		return err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, n.times.Call)
	defer cancel()
	_, err = n.c.Set(ctx, key, data, version)
	return err
}
