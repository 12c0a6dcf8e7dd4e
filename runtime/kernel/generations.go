package kernel

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/cluster/local"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/depsync"
	"carbonado.dev/sdk/cause"
)

// recommit is the time between looks at the deployment folder without any news of hot deployment: rights change without one.
const recommit = time.Minute

// generations is this node's part in keeping the deployment folders of a cluster equal: it is the committer.
type generations struct {
	once sync.Once
	node *depsync.Node
	err  error
	// running is set while the node looks by itself.
	running atomic.Pointer[depsync.Node]
	end     func()
}

var _ admin.Clustered = (*Kernel)(nil)

// node is opened at its first use, so that a start pays nothing for it.
func (k *Kernel) node() (*depsync.Node, error) {
	g := &k.generations
	g.once.Do(func() {
		repository := filepath.Join(k.home, "repository")
		_, alone := k.coordinator.(*local.Coordinator)
		g.node, g.err = depsync.New(depsync.Options{
			ID: k.nodeID, Coordinator: k.coordinator, Alone: alone, Files: k.deployer.Files,
			Folder: filepath.Join(repository, filepath.FromSlash(deploy.ServerRoot)), Store: filepath.Join(repository, "data", "kernel", "generations"),
			Times: depsync.Times{Reread: recommit}, Log: k.logs.root.Named("generations"),
		})
	})
	return g.node, g.err
}

// runGenerations makes a generation of each change of the deployment folder, until close. It begins when the server runs and hot deployment
// has looked once.
func (k *Kernel) runGenerations() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-k.deployer.Scanned():
		case <-ctx.Done():
			return
		}
		n, err := k.node()
		if err != nil {
			k.log.Warn("deployments are not kept as generations", "cause", err)
			return
		}
		k.generations.running.Store(n)
		n.Run(ctx)
	}()
	k.generations.end = func() {
		cancel()
		<-ended
	}
}

// closeGenerations comes before the coordinator is closed, and after the doors are.
func (k *Kernel) closeGenerations() {
	g := &k.generations
	if g.end != nil {
		g.end()
	}
	g.once.Do(func() { g.err = errors.New("the server stops") })
	if g.node != nil {
		_ = g.node.Close() // it only lets go of a folder
	}
}

// artifact tells of a change of an artifact.
func (k *Kernel) artifact(a deploy.Artifact) {
	k.events.artifact(a)
	if n := k.generations.running.Load(); n != nil {
		n.Ring()
	}
}

// deployed fills in what Status says of the deployment folder.
func (k *Kernel) deployed(s *admin.Status) {
	n, err := k.node()
	if err == nil {
		if b := n.Base(); b.Generation > 0 {
			s.Deployment = &admin.Generation{Generation: b.Generation, Digest: b.Digest, Committer: b.Committer, Time: b.Time}
		}
		if err = n.Problem(); errors.Is(err, depsync.ErrChanging) {
			err = nil // over in a moment
		}
	}
	if err != nil {
		s.Causes = append(s.Causes, *admin.CauseOf(cause.Proto(err)))
	}
}

// Nodes implements admin.Clustered.
func (k *Kernel) Nodes(ctx context.Context) ([]admin.Node, error) {
	n, err := k.node()
	if err != nil {
		return nil, err
	}
	list, err := n.Nodes(ctx)
	out := make([]admin.Node, 0, len(list))
	for _, s := range list {
		line := admin.Node{
			Node: s.Node, Address: s.Address, Generation: s.Generation, Digest: s.Digest, State: admin.NodeStateText(s.Behind), Behind: s.Behind,
			Member: s.Member, Committer: s.Committer, Self: s.Node == k.nodeID, Problem: s.Problem,
		}
		if !s.Time.IsZero() {
			line.Since = &s.Time
		}
		out = append(out, line)
	}
	return out, err
}

// CommitDeployment implements admin.Clustered.
func (k *Kernel) CommitDeployment(ctx context.Context, actor string) (admin.Generation, error) {
	n, err := k.node()
	if err != nil {
		return admin.Generation{}, err
	}
	p, err := n.Commit(ctx)
	if err != nil {
		return admin.Generation{}, err
	}
	k.log.Info("the deployment folder was committed as it is", "generation", p.Generation, "actor", actor)
	return admin.Generation{Generation: p.Generation, Digest: p.Digest, Committer: p.Committer, Time: p.Time}, nil
}
