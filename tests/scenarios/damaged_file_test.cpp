// Files that are no scenarios at all, and YAML that is meant to hurt.
#include <filesystem>
#include <fstream>

#include "core/random.h"
#include "scenarios/yaml_reader.h"
#include "tests/scenarios/scenario_testing.h"
#include "tests/support/own_folder.h"

namespace kvhaul::test {
namespace {

TEST(DamagedFile, Empty) {
  for (const char* text : {"", "\n\n", "# nothing but a comment\n", "---\n"})
    EXPECT_EQ(error_of(text), "s.yaml:1: expected a mapping of keys to values, found nothing");
}

TEST(DamagedFile, AnotherFormat) {
  EXPECT_EQ(error_of("arrival_s,input_tokens\n0,1\n"),
            "s.yaml:1: expected a mapping of keys to values, found something else");
  EXPECT_NE(error_of("{\"name\": \"json\", \"x\": 1}"), "");
  EXPECT_NE(error_of("<html><body>404: Not Found</body></html>"), "");
}

TEST(DamagedFile, CutAnywhereIsAnErrorOrStillWhole) {
  const std::string whole(small_scenario);
  for (std::size_t size = 0; size + 40 < whole.size(); ++size)
    EXPECT_NE(error_of(whole.substr(0, size)), "") << size;
}

TEST(DamagedFile, EveryByteChangedIsReadOrRefused) {
  const std::string whole(small_scenario);
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (const char c : {'\0', '\x1b', '\n', ':', '{', '&', '*', '\xff'}) {
      std::string damaged = whole;
      damaged[i] = c;
      error_of(damaged);  // checks that an error is one clear line
    }
}

TEST(DamagedFile, Binary) {
  EXPECT_EQ(error_of(std::string("name: a\0b", 9)),
            "s.yaml:1: expected a text file, found a binary one");
  Random random(3);
  for (int run = 0; run < 50; ++run) {
    std::string bytes;
    for (int i = 0; i < 2000; ++i) bytes += static_cast<char>(1 + random.below(255));
    EXPECT_NE(error_of(bytes), "");
  }
}

TEST(DamagedFile, SeveralDocuments) {
  const std::string whole(small_scenario);
  EXPECT_EQ(error_of("---\n" + whole), "");
  EXPECT_EQ(error_of(whole + "---\nname: another\n"),
            "s.yaml:16: expected one document, found the beginning of another");
}

TEST(DamagedFile, AliasesAreNotMultipliedOut) {
  // Nine levels of nine: 9^9 words if somebody walked through all of them.
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string name(1, static_cast<char>('0' + i));
    const std::string before(1, static_cast<char>('0' + i - 1));
    bomb.append("a").append(name).append(": &a").append(name).append(" [*a").append(before);
    for (int k = 0; k < 8; ++k) bomb.append(", *a").append(before);
    bomb.append("]\n");
  }
  EXPECT_EQ(error_of(bomb + "name: *a8\n"), "s.yaml:9: 'name': expected a word");
  EXPECT_NE(error_of("name: s\ncluster: &c {node_types: *c}\n"), "");
}

TEST(DamagedFile, DeepNestingEndsInAnError) {
  for (const char* open : {"[", "{a: ", "- ", "? "}) {
    std::string text = "name: ";
    for (int i = 0; i < 100'000; ++i) text += open;
    EXPECT_NE(error_of(text), "") << open;
  }
}

TEST(DamagedFile, HugeLine) {
  EXPECT_EQ(error_of("name: " + std::string(900'000, 'x')),
            "s.yaml:1: 'name': expected a word, found '" + std::string(60, 'x') + "...'");
  EXPECT_NE(error_of(std::string(900'000, 'x') + ": 1\n"), "");
}

TEST(DamagedFile, TooLargeOrNotThere) {
  const test::OwnFolder folder;
  const std::string path = folder.file("large.yaml");
  std::ofstream(path) << std::string((1 << 20) + 1, '#');
  const auto large = read_text_file(path);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().message,
            path + ": expected a file of at most 1 MiB, found a larger one");
  EXPECT_EQ(read_text_file("/nonexistent/x.yaml").error().message,
            "/nonexistent/x.yaml: cannot be read: No such file or directory");
  EXPECT_EQ(read_text_file("/").error().message, "/: expected a file, found a directory");
  EXPECT_EQ(load_scenario("laptopp").error().message,
            "no file and no shipped scenario is called 'laptopp'; did you mean 'laptop'?");
}

}  // namespace
}  // namespace kvhaul::test
