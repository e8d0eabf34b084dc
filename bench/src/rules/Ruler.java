// Measures aws/event-ruler: a bank of rules a line on standard input, a line of figures each on standard output.
// Arguments: the file of events, the file of banks, the seconds that each bank is measured.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import software.amazon.event.ruler.GenericMachine;

public class Ruler {
    public static void main(String[] args) throws Exception {
        List<String> events = Files.readAllLines(Path.of(args[0]));
        JsonNode banks = new ObjectMapper().readTree(Files.readAllBytes(Path.of(args[1])));
        double seconds = Double.parseDouble(args[2]);
        BufferedReader names = new BufferedReader(new InputStreamReader(System.in));
        for (String name; (name = names.readLine()) != null; ) {
            JsonNode rules = banks.get(name).get("rules");
            GenericMachine<Integer> machine = new GenericMachine<>();
            for (int i = 0; i < rules.size(); i++) {
                machine.addRule(i, rules.get(i).toString());
            }
            long[] counts = new long[rules.size()];
            double best = 0;
            long end = System.nanoTime() + (long) (seconds * 1e9);
            // One pass at least; the first warms up and counts.
            for (int pass = 0; pass < 2 || System.nanoTime() < end; pass++) {
                long start = System.nanoTime();
                for (String event : events) {
                    for (Integer rule : machine.rulesForJSONEvent(event)) {
                        counts[rule] += pass == 0 ? 1 : 0;
                    }
                }
                best = Math.max(best, events.size() * 1e9 / (System.nanoTime() - start));
            }
            StringBuilder line = new StringBuilder().append(Math.round(best));
            for (long count : counts) {
                line.append(' ').append(count);
            }
            System.out.println(line);
        }
    }
}
