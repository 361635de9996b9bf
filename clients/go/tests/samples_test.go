// Runs the samples against a real `headwater dev`, and holds the generated code to the contracts.
package tests

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// How long a start may take while the machine also compiles.
const startMax = 30 * time.Second

func TestTheSamplePublishesAndReadsWhatIsCounted(t *testing.T) {
	address := headwaterDev(t)
	first := runSample(t, address)
	if want := "GO-0001 0.30\nGO-0002 123.45\n"; first != want {
		t.Fatalf("the sample printed %q, not %q", first, want)
	}
	again := runSample(t, address)
	if want := "GO-0001 0.60\nGO-0002 246.90\n"; again != want {
		t.Fatalf("run again it printed %q, not %q", again, want)
	}
}

func TestTheSampleSaysThatNobodyAnswers(t *testing.T) {
	command := exec.Command("go", "run", "../samples/transactions", freeAddress(t))
	output, err := command.CombinedOutput()
	if err == nil || !bytes.Contains(output, []byte("Unavailable")) {
		t.Fatalf("%v: %s", err, output)
	}
}

// What is committed is what `buf generate` makes of the contracts as they are now.
func TestTheGeneratedCodeIsCurrent(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	tools := os.Getenv("HEADWATER_TOOLS")
	if tools == "" {
		tools = filepath.Join(root, ".tools")
	}
	buf := filepath.Join(tools, "bin", "buf")
	if _, err := os.Stat(buf); err != nil {
		t.Fatalf("%v: run `tools/setup buf`", err)
	}
	fresh := t.TempDir()
	command := exec.Command(buf, "generate", "--output", fresh)
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("buf generate: %v: %s", err, output)
	}
	made, committed := files(t, filepath.Join(fresh, "clients/go/gen")), files(t, "../gen")
	for path, code := range made {
		if committed[path] != code {
			t.Errorf("%s is not what the contracts say: run `.tools/bin/buf generate` and commit", path)
		}
	}
	for path := range committed {
		if _, known := made[path]; !known {
			t.Errorf("%s has no contract any more: run `.tools/bin/buf generate` and commit", path)
		}
	}
	if len(made) == 0 {
		t.Error("buf generate made nothing")
	}
}

func runSample(t *testing.T, address string) string {
	t.Helper()
	var warnings bytes.Buffer
	command := exec.Command("go", "run", "../samples/transactions", address)
	command.Stderr = &warnings
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, warnings.String())
	}
	return string(output)
}

func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		code, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		found[name] = string(code)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Starts the platform on free ports, as `make run` does: with embedded stores, and others' transactions. Answers the address of gRPC once it is ready.
func headwaterDev(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("HEADWATER_TEST_BIN")
	if binary == "" {
		binary = "../../../target/debug/headwater"
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: run `cargo build -p headwater`, or name the program by HEADWATER_TEST_BIN", err)
	}
	grpc, page := freeAddress(t), freeAddress(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "dev", "--listen-grpc", grpc, "--listen-http", page)
	// The settings of whoever runs the tests are not this process's.
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "HEADWATER_") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		log.Close()
	})
	client := http.Client{Timeout: time.Second}
	for end := time.Now().Add(startMax); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("headwater dev ended: %v\n%s", err, said)
		default:
		}
		answer, err := client.Get(fmt.Sprintf("http://%s/readyz", page))
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return grpc
		}
	}
	said, _ := os.ReadFile(log.Name())
	t.Fatalf("headwater dev is not ready after %s:\n%s", startMax, said)
	return ""
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
