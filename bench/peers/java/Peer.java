import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

/** Curator's mutex, measured like ours: java Peer ROW N MILLISECONDS HOST:PORT. */
public final class Peer {
    private static volatile boolean over = false;

    private static final class Contender extends Thread {
        final InterProcessMutex mutex;
        final List<long[]> turns = new ArrayList<>();

        Contender(InterProcessMutex mutex) {
            this.mutex = mutex;
        }

        /** The turns that were granted then. */
        Stream<long[]> within(long begin, long end) {
            return turns.stream().filter(turn -> turn[1] >= begin && turn[1] < end);
        }

        @Override
        public void run() {
            try {
                while (!over) {
                    long asked = System.nanoTime();
                    mutex.acquire();
                    turns.add(new long[] {asked, System.nanoTime()});
                    mutex.release();
                }
            } catch (Exception error) {
                error.printStackTrace();
                System.exit(1);
            }
        }
    }

    private static CuratorFramework client(String server) throws InterruptedException {
        CuratorFramework client = CuratorFrameworkFactory.newClient(server, new RetryOneTime(100));
        client.start();
        if (!client.blockUntilConnected(10, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no connection to " + server);
        }
        return client;
    }

    /** All contend for one lock, each with a session, or each has its own, on one session. */
    private static List<Contender> contenders(String row, int n, String server) throws InterruptedException {
        CuratorFramework shared = client(server);
        List<Contender> contenders = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            boolean handover = row.equals("handover");
            CuratorFramework client = handover ? client(server) : shared;
            contenders.add(new Contender(new InterProcessMutex(client, handover ? "/peer/lock" : "/peer/lock" + i)));
        }
        return contenders;
    }

    private static double percentile(long[] sorted, double share) {
        return sorted.length == 0 ? 0 : sorted[(int) ((sorted.length - 1) * share)] / 1e3;
    }

    private static void sleepUntil(long end) throws InterruptedException {
        TimeUnit.NANOSECONDS.sleep(Math.max(0, end - System.nanoTime()));
    }

    public static void main(String[] arguments) throws Exception {
        long measured = TimeUnit.MILLISECONDS.toNanos(Long.parseLong(arguments[2]));
        List<Contender> contenders = contenders(arguments[0], Integer.parseInt(arguments[1]), arguments[3]);
        contenders.forEach(Thread::start);
        // What the virtual machine compiles, it compiles in the first seconds.
        long begin = System.nanoTime() + Math.max(measured / 4, TimeUnit.SECONDS.toNanos(2));
        sleepUntil(begin + measured);
        over = true;
        for (Contender contender : contenders) {
            contender.join();
        }
        double squares = contenders.stream()
                .mapToDouble(contender -> Math.pow(contender.within(begin, begin + measured).count(), 2))
                .sum();
        long[] waits = contenders.stream()
                .flatMap(contender -> contender.within(begin, begin + measured))
                .mapToLong(turn -> turn[1] - turn[0])
                .sorted()
                .toArray();
        System.out.printf(
                "{\"grants_per_second\":%f,\"p50\":%f,\"p99\":%f,\"jain\":%f}%n",
                waits.length / (measured / 1e9),
                percentile(waits, 0.5),
                percentile(waits, 0.99),
                Math.pow(waits.length, 2) / Math.max(1, contenders.size() * squares));
        System.exit(0);
    }
}
