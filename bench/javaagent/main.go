// Command javaagent runs WSO2's own Java data agent against a whole server: how fast one agent publishes, and whether all is stored. It
// must not know components but by their ports and files.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"carbonado.dev/carbonado/bench/load"
	"carbonado.dev/carbonado/bench/server"
)

// least is the pace that one agent must reach, in events per second.
const least = 20_000

func main() {
	events := flag.Int("events", 1_000_000, "events to publish")
	warm := flag.Int("warm", 100_000, "events published before, so that the virtual machine has compiled the agent")
	java := flag.String("java", "build/bench/javaagent", "folder with lib and classes, made by run.sh")
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := measure(*root, *java, *warm, *events); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(root, java string, warm, events int) (err error) {
	ctx := context.Background()
	inst, err := server.Lay(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inst.Remove()) }()
	if err := load.Deploy(inst.Home, false); err != nil {
		return err
	}
	running, err := inst.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Stop()) }()
	j := &agent{inst: inst, folder: java, root: root}
	if err := j.trust(); err != nil {
		return err
	}
	seconds, err := j.publish(ctx, warm, events)
	if err != nil {
		return err
	}
	rows, different, err := count(ctx, inst, warm+events)
	if err != nil {
		return err
	}
	if different != warm+events {
		return fmt.Errorf("%d of %d events are stored", different, warm+events)
	}
	rate := float64(events) / seconds
	fmt.Printf("javaagent ratio=%.2f target=>=1 (one agent of WSO2 5.1.3: %.0f events/s against %d; all %d stored, %d repeated)\n", rate/least, rate, least, different, rows-different)
	return nil
}

// agent is the Java process.
type agent struct {
	inst         *server.Installation
	folder, root string
	truststore   string
}

// trust puts the server's certificate into a truststore, as an administrator of an agent does.
func (j *agent) trust() error {
	conn, err := tls.Dial("tcp", j.address(7711), &tls.Config{InsecureSkipVerify: true}) // this is how its certificate is got
	if err != nil {
		return err
	}
	defer conn.Close()
	file := filepath.Join(filepath.Dir(j.inst.Home), "server.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	j.truststore = filepath.Join(filepath.Dir(j.inst.Home), "client-truststore.jks")
	out, err := exec.Command("keytool", "-importcert", "-noprompt", "-alias", "server", "-file", file, "-keystore", j.truststore, "-storetype", "JKS", "-storepass", "wso2carbon").CombinedOutput()
	if err != nil {
		return fmt.Errorf("keytool: %w\n%s", err, out)
	}
	return nil
}

func (j *agent) address(base int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+j.inst.Offset))
}

var published = regexp.MustCompile(`warm (\d+) published (\d+) in ([0-9.]+) s`)

// publish answers how many seconds the events took after the warm-up.
func (j *agent) publish(ctx context.Context, warm, events int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "java", "-Xmx512m", "-Dconf="+filepath.Join(j.root, "bench", "javaagent"), "-Djavax.net.ssl.trustStore="+j.truststore, "-Djavax.net.ssl.trustStorePassword=wso2carbon",
		"-cp", filepath.Join(j.folder, "classes")+":"+filepath.Join(j.folder, "lib", "*"), "Publish",
		"tcp://"+j.address(7611), "ssl://"+j.address(7711), "admin", server.Password, load.Stream.ID(), strconv.Itoa(warm), strconv.Itoa(events))
	out, err := cmd.CombinedOutput()
	m := published.FindSubmatch(out)
	if err != nil || m == nil {
		return 0, fmt.Errorf("the Java agent: %w\n%s", err, out)
	}
	return strconv.ParseFloat(string(m[3]), 64)
}

// count waits until the store has as many different events as were published, and answers rows and different ones.
func count(ctx context.Context, inst *server.Installation, want int) (rows, different int, err error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		if rows, different, err = ask(ctx, inst); err != nil || different >= want || time.Now().After(deadline) {
			return rows, different, err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func ask(ctx context.Context, inst *server.Installation) (rows, different int, err error) {
	out, err := inst.Command(ctx, "query", "-o", "json", load.Count).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("query: %w", err)
	}
	var answer struct{ Rows [][]int }
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Rows) != 1 || len(answer.Rows[0]) != 2 {
		return 0, 0, fmt.Errorf("query answered %s: %w", out, err)
	}
	return answer.Rows[0][0], answer.Rows[0][1], nil
}
