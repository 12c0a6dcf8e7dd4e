package component

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
)

// The environment of a program that its developer starts, in a debugger for example, to join a running kernel in the place of the installed
// one. `carbonado plugin attach NAME` prints it.
const (
	attachEnv = "CARBONADO_ATTACH"
	tokenEnv  = "CARBONADO_ATTACH_TOKEN"
)

// attachMost bounds the exchange with the kernel.
const attachMost = 10 * time.Second

// attachRequest is the first line on the attach socket, attachReply the answer; listeners come with it as descriptors. Then the kernel writes
// lifeline lines, and the component its handshake line.
type attachRequest struct {
	Token string `json:"token"`
}

type attachReply struct {
	Error         string `json:"error,omitempty"`
	RunFolder     string `json:"runFolder"`
	DataFolder    string `json:"dataFolder"`
	PackageFolder string `json:"packageFolder"`
	Listeners     int    `json:"listeners"`
	Protocols     string `json:"protocols"`
}

// attached is a joined kernel.
type attached struct {
	line      *layout.Lifeline
	listeners []*os.File
	conn      *net.UnixConn
}

// attach joins the kernel that the environment names, and lays out this process as the kernel would have: working folder, variables.
func attach() (*attached, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: os.Getenv(attachEnv), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("%w: the token is used, or ten minutes have passed; run `carbonado plugin attach` again", err)
	}
	a := &attached{conn: conn}
	_ = conn.SetDeadline(time.Now().Add(attachMost))
	request, err := json.Marshal(attachRequest{os.Getenv(tokenEnv)})
	if err == nil {
		_, err = conn.Write(append(request, '\n'))
	}
	var reply attachReply
	if err == nil {
		reply, err = a.reply()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	c := handshake.Config()
	for name, value := range map[string]string{
		c.MagicCookieKey: c.MagicCookieValue, "PLUGIN_PROTOCOL_VERSIONS": reply.Protocols, "PLUGIN_UNIX_SOCKET_DIR": reply.RunFolder,
		packageEnv: reply.PackageFolder, "TMPDIR": filepath.Join(reply.RunFolder, "tmp"),
	} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	os.Unsetenv(tokenEnv)
	if err := os.Chdir(reply.DataFolder); err != nil {
		return nil, err
	}
	a.line = layout.Watch(conn, func() {
		fmt.Fprintln(os.Stderr, "the kernel has let this process go")
		os.Exit(layout.ExitLifeline)
	})
	return a, nil
}

// reply reads the kernel's answer, a line of JSON with descriptors, and not a byte more: lifeline lines follow.
func (a *attached) reply() (r attachReply, err error) {
	var text []byte
	one, control := make([]byte, 1), make([]byte, 4096)
	for {
		n, oobn, _, _, err := a.conn.ReadMsgUnix(one, control)
		if err != nil {
			return r, err
		}
		if oobn > 0 {
			if err := a.take(control[:oobn]); err != nil {
				return r, err
			}
		}
		if n == 0 {
			return r, io.ErrUnexpectedEOF
		}
		if one[0] == '\n' {
			break
		}
		text = append(text, one[0])
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	if len(a.listeners) != r.Listeners {
		return r, fmt.Errorf("%d listeners came, %d were announced", len(a.listeners), r.Listeners)
	}
	return r, nil
}

func (a *attached) take(control []byte) error {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			a.listeners = append(a.listeners, os.NewFile(uintptr(fd), "listener"))
		}
	}
	return nil
}

// open is Host.Listener: descriptor numbers are those that a started process would have.
func (a *attached) open(fd int) (net.Listener, error) {
	i := fd - layout.FDFirstListener
	if i < 0 || i >= len(a.listeners) {
		return nil, fmt.Errorf("descriptor %d did not come", fd)
	}
	return net.FileListener(a.listeners[i])
}

// announce lets the handshake line, which go-plugin prints, reach the kernel over the attach socket. Call it right before go-plugin serves.
func (a *attached) announce() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	os.Stdout = w // go-plugin prints one line to it; the kernel's first call puts the real one back
	go func() {
		defer r.Close()
		line, err := bufio.NewReader(r).ReadString('\n')
		w.Close()
		if err == nil && strings.HasPrefix(line, "1|") {
			_, err = a.conn.Write([]byte(line))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "the kernel can't be told where this process listens:", err)
			os.Exit(1)
		}
	}()
	return nil
}
