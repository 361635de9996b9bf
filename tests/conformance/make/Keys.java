// Makes ../vectors/keys.json with the partitioner of Kafka's own Java client.
// Run: java -cp '../../../.tools/kafka/libs/*' Keys.java > ../vectors/keys.json
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.Utils;

public class Keys {
    private static final int[] PARTITIONS = {1, 2, 3, 4, 7, 12, 64, 1000};

    public static void main(String[] arguments) {
        List<String> keys = new ArrayList<>();
        for (int account = 1; account <= 20; account++) {
            keys.add(String.format("ACC-%04d", account));
        }
        keys.addAll(List.of("a", "ab", "abc", "abcd", "abcde", "21", "foobar", "a-little-bit-longer-string", "DE89370400440532013000"));
        keys.addAll(List.of("Konto-Müller", "東京", "☕", "\u0000", "x".repeat(64), " "));
        StringBuilder text = new StringBuilder("{\n \"keys\": [\n");
        for (int at = 0; at < keys.size(); at++) {
            byte[] key = keys.get(at).getBytes(StandardCharsets.UTF_8);
            StringBuilder hex = new StringBuilder();
            for (byte b : key) {
                hex.append(String.format("%02x", b));
            }
            text.append("  {\"key_hex\": \"").append(hex).append("\", \"murmur2\": ").append(Utils.murmur2(key)).append(", \"partitions\": {");
            for (int number = 0; number < PARTITIONS.length; number++) {
                int partition = BuiltInPartitioner.partitionForKey(key, PARTITIONS[number]);
                text.append(number == 0 ? "" : ", ").append("\"").append(PARTITIONS[number]).append("\": ").append(partition);
            }
            text.append(at + 1 == keys.size() ? "}}\n" : "}},\n");
        }
        System.out.print(text.append(" ]\n}\n"));
    }
}
