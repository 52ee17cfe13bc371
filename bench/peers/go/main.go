// The mutex of etcd's own package, measured like ours: peer go ROW N MILLISECONDS HOST:PORT.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
)

type turn struct{ asked, granted time.Time }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func session(server string) *concurrency.Session {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server}, DialTimeout: 5 * time.Second})
	must(err)
	session, err := concurrency.NewSession(client)
	must(err)
	return session
}

// A mutex for each contender: all of one lock, each with a session, or each its own, on one session.
func mutexes(row string, n int, server string) []*concurrency.Mutex {
	var mutexes []*concurrency.Mutex
	shared := session(server)
	for i := 0; i < n; i++ {
		if row == "handover" {
			mutexes = append(mutexes, concurrency.NewMutex(session(server), "/peer/lock"))
		} else {
			mutexes = append(mutexes, concurrency.NewMutex(shared, fmt.Sprintf("/peer/lock%d", i)))
		}
	}
	return mutexes
}

func percentile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(float64(len(sorted)-1)*share)].Nanoseconds()) / 1e3
}

func main() {
	row := os.Args[1]
	n, err := strconv.Atoi(os.Args[2])
	must(err)
	millis, err := strconv.Atoi(os.Args[3])
	must(err)
	mutexes := mutexes(row, n, os.Args[4])
	measured := time.Duration(millis) * time.Millisecond
	begin := time.Now().Add(measured / 4)
	end := begin.Add(measured)
	var over int32
	var all sync.WaitGroup
	turns := make([][]turn, n)
	for i, mutex := range mutexes {
		all.Add(1)
		go func(i int, mutex *concurrency.Mutex) {
			defer all.Done()
			for atomic.LoadInt32(&over) == 0 {
				asked := time.Now()
				must(mutex.Lock(context.TODO()))
				turns[i] = append(turns[i], turn{asked, time.Now()})
				must(mutex.Unlock(context.TODO()))
			}
		}(i, mutex)
	}
	time.Sleep(time.Until(end))
	atomic.StoreInt32(&over, 1)
	all.Wait()
	var waits []time.Duration
	var squares float64
	for _, turns := range turns {
		before := len(waits)
		for _, turn := range turns {
			if !turn.granted.Before(begin) && turn.granted.Before(end) {
				waits = append(waits, turn.granted.Sub(turn.asked))
			}
		}
		squares += math.Pow(float64(len(waits)-before), 2)
	}
	sort.Slice(waits, func(i, j int) bool { return waits[i] < waits[j] })
	must(json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"grants_per_second": float64(len(waits)) / measured.Seconds(),
		"p50":               percentile(waits, 0.5),
		"p99":               percentile(waits, 0.99),
		"jain":              math.Pow(float64(len(waits)), 2) / math.Max(1, float64(n)*squares),
	}))
}
