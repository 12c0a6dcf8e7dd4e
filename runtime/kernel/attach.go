package kernel

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

const (
	// invitationLife is how long a token of `plugin attach` may be used, once.
	invitationLife = 10 * time.Minute
	// helloMost is how long one who connects may take to show the token.
	helloMost = 5 * time.Second
)

// guests are processes that developers start themselves, to join in the place of installed ones.
type guests struct {
	k    *Kernel
	work sync.WaitGroup

	mu      sync.Mutex // guards what follows
	ended   bool
	invited map[string]*invitation // by component
	waiting map[string]*guest      // has shown its token, and is launched next
}

type invitation struct {
	token    string
	folder   string
	listener *net.UnixListener
}

type guest struct {
	conn   *net.UnixConn
	folder string
}

func newGuests(k *Kernel) *guests {
	return &guests{k: k, invited: map[string]*invitation{}, waiting: map[string]*guest{}}
}

// Attach implements admin.Attaching: it opens a socket on which one process that shows the token may join, for ten minutes. A later invitation
// replaces an earlier one.
func (k *Kernel) Attach(_ context.Context, name, actor string) (admin.Invitation, error) {
	v, err := k.viewOf(name)
	if err != nil {
		return admin.Invitation{}, err
	}
	if !v.Planned.Runs {
		return admin.Invitation{}, admin.ErrRefused.Wrap(reasonOf(v), "nothing can join in the place of %s", name)
	}
	return k.guests.invite(name, actor)
}

func (g *guests) invite(name, actor string) (admin.Invitation, error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	i := &invitation{token: hex.EncodeToString(secret)}
	var err error
	if i.folder, err = g.k.supervisor.ShortFolder("a" + i.token[:12]); err != nil {
		return admin.Invitation{}, err
	}
	if err := os.MkdirAll(filepath.Join(i.folder, "tmp"), 0o700); err != nil {
		return admin.Invitation{}, supervisor.ErrVisitor.Wrap(err, "%s", name)
	}
	path := filepath.Join(i.folder, "attach")
	if i.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Chmod(i.folder, 0o711) // components of other users call its service socket
	}
	if err != nil {
		os.RemoveAll(i.folder)
		return admin.Invitation{}, supervisor.ErrVisitor.Wrap(err, "%s", name)
	}
	end := time.Now().Add(invitationLife)
	_ = i.listener.SetDeadline(end)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		i.listener.Close()
		return admin.Invitation{}, supervisor.ErrVisitor.New("%s: the kernel stops", name)
	}
	if old := g.invited[name]; old != nil {
		old.listener.Close()
	}
	g.invited[name] = i
	g.work.Go(func() { g.await(name, actor, i) })
	return admin.Invitation{Name: name, Socket: path, Token: i.token, Expires: end}, nil
}

// await takes the first one with the right token and lets it take the component's place.
func (g *guests) await(name, actor string, i *invitation) {
	var conn *net.UnixConn
	for conn == nil {
		c, err := i.listener.AcceptUnix()
		if err != nil {
			break // its time is over, or another invitation replaces it
		}
		if err := admitted(c, i.token); err != nil {
			g.k.log.Warn("a process that wanted to join was refused", "component", name, "error", err)
			c.Close()
			continue
		}
		conn = c
	}
	i.listener.Close() // the token is used
	g.mu.Lock()
	if g.invited[name] == i {
		delete(g.invited, name)
	}
	if conn != nil && !g.ended {
		if old := g.waiting[name]; old != nil {
			old.conn.Close()
		}
		g.waiting[name] = &guest{conn, i.folder}
	} else if conn != nil {
		conn.Close()
		conn = nil
	}
	g.mu.Unlock()
	if conn == nil {
		os.RemoveAll(i.folder)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := g.takePlace(ctx, name, actor)
	if err != nil {
		g.k.log.Error("a process could not take a component's place", "component", name, "error", err)
	}
	if w := g.take(name); w != nil { // nobody launched it
		refuse(w.conn, fmt.Sprintf("%s could not be replaced: %v", name, err))
		os.RemoveAll(w.folder)
	}
}

// takePlace replaces what runs by the process that waits, or starts it where nothing runs.
func (g *guests) takePlace(ctx context.Context, name, actor string) error {
	v, err := g.k.viewOf(name)
	if err != nil {
		return err
	}
	if v.State == component.Active {
		return g.k.reconciler.Restart(ctx, name, actor, false)
	}
	return g.k.reconciler.Start(ctx, name, actor)
}

// admitted checks one who connects: the server's own user or root, with the token.
func admitted(c *net.UnixConn, token string) error {
	p, err := handshake.PeerOf(c)
	if err != nil {
		return err
	}
	if p.UID != os.Geteuid() && p.UID != 0 {
		return fmt.Errorf("process %d is user %d's", p.PID, p.UID)
	}
	if err := c.SetReadDeadline(time.Now().Add(helloMost)); err != nil {
		return err
	}
	line, err := bufio.NewReaderSize(c, 256).ReadString('\n')
	if err != nil {
		return err
	}
	var hello struct{ Token string }
	if json.Unmarshal([]byte(line), &hello) != nil || subtle.ConstantTimeCompare([]byte(hello.Token), []byte(token)) != 1 {
		refuse(c, "the token is not the one of this invitation")
		return fmt.Errorf("process %d has no right token", p.PID)
	}
	return c.SetReadDeadline(time.Time{})
}

func refuse(c *net.UnixConn, why string) {
	b, _ := json.Marshal(map[string]string{"error": why}) // a map of strings has no error
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(append(b, '\n')) // it may have gone
	c.Close()
}

// take gives the process that waits to be launched in a component's place; nil if none does.
func (g *guests) take(name string) *guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.waiting[name]
	delete(g.waiting, name)
	return w
}

// launch tells a process that waits its folders and listeners, and connects to it.
func (g *guests) launch(ctx context.Context, w *guest, c *plan.Component, generation uint64) (reconcile.Process, error) {
	d := c.Package.Descriptor
	fds, listeners, err := g.listeners(ctx, d)
	defer func() {
		for _, f := range fds {
			f.Close()
		}
	}()
	if err != nil {
		refuse(w.conn, err.Error())
		return nil, err
	}
	if err := os.MkdirAll(g.k.host.dataFolder(d.Name), 0o700); err != nil {
		refuse(w.conn, err.Error())
		return nil, supervisor.ErrVisitor.Wrap(err, "%s", d.Name)
	}
	reply, err := json.Marshal(map[string]any{
		"runFolder": w.folder, "dataFolder": g.k.host.dataFolder(d.Name), "packageFolder": c.Package.Dir, "listeners": len(fds),
		"protocols": fmt.Sprintf("%d,%d", handshake.ProtocolVersion, handshake.ProtocolUsers),
	})
	if err == nil {
		var rights []byte
		if len(fds) > 0 {
			numbers := make([]int, len(fds))
			for i, f := range fds {
				numbers[i] = int(f.Fd())
			}
			rights = unix.UnixRights(numbers...)
		}
		_, _, err = w.conn.WriteMsgUnix(append(reply, '\n'), rights, nil)
	}
	if err != nil {
		w.conn.Close()
		return nil, supervisor.ErrVisitor.Wrap(err, "%s", d.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, supervisor.DefaultStartTimeout)
	defer cancel()
	v, err := g.k.supervisor.Visit(ctx, w.conn, d.Name, generation, w.folder, listeners)
	if err != nil {
		return nil, err
	}
	g.k.log.Info("a process that was started by hand takes a component's place", "component", d.Name, "pid", v.PID())
	return v, nil
}

// listeners shares the component's ports with the process.
func (g *guests) listeners(ctx context.Context, d *component.Descriptor) (fds []*os.File, out []*controlv1.Listener, err error) {
	opened, err := g.k.host.listen(ctx, d)
	if err != nil {
		return nil, nil, err
	}
	for i, l := range opened {
		shared, err := g.k.guardian.Share(ctx, l.Key)
		if err != nil {
			return fds, nil, err
		}
		f, err := shared.(*net.TCPListener).File()
		address := shared.Addr().String()
		shared.Close()
		if err != nil {
			return fds, nil, err
		}
		fds = append(fds, f)
		out = append(out, &controlv1.Listener{Name: l.Name, Fd: int32(layout.FDFirstListener + i), Address: address})
	}
	return fds, out, nil
}

// close ends every invitation and waits.
func (g *guests) close() {
	g.mu.Lock()
	g.ended = true
	for _, i := range g.invited {
		i.listener.Close()
	}
	for _, w := range g.waiting {
		w.conn.Close()
	}
	g.mu.Unlock()
	g.work.Wait()
}
