// Every command that writes files, killed at every system call that opens, writes, syncs, names or
// removes one, and with a disk that is full from there on (strace injects both). Whatever is left:
// an output is the older one or the whole new one, a folder of a run may also carry the mark that
// it is not whole, and then no command reads it; nothing else has changed; and the same command
// with --force makes all of it good, leaving nothing behind; a sweep goes on with --resume, too.
#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>

#include "processes/rendezvous.h"
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;
using Files = std::map<std::string, std::string>;  // by their path in the test's folder

constexpr const char* strace = "/usr/bin/strace";

/// More calls than these are not all tried: a sample then, drawn by a fixed seed. What a sanitizer
/// sees it sees in a few of them, ten times as slowly.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t calls_max = 3;
/// Sanitizers find out with write() to a pipe of theirs what memory may be read, and give up, with
/// exit code 0, where that fails.
constexpr bool write_may_fail = false;
#else
constexpr std::size_t calls_max = 1000;
constexpr bool write_may_fail = true;
#endif

struct Writer {
  const char* name;
  Arguments command;                 // without --force
  std::vector<std::string> outputs;  // files; folders of runs end with a slash
  /// Some are kvhaul's own, and written anew without being asked.
  bool own = false;
  /// It has runs in processes of their own, which may die while it lives.
  bool of_runs = false;
};

void PrintTo(const Writer& writer, std::ostream* out) { *out << writer.name; }

/// One line for every command and option that writes. The trace t.csv, which is also standard
/// input, the log-less runs a/ and b/ and an older scenario are there.
const std::vector<Writer>& writers() {
  static const std::vector<Writer> all = {
      {"trace_convert", {"trace", "convert", "t.csv", "new.csv"}, {"new.csv"}},
      {"trace_cut", {"trace", "cut", "t.csv", "new.csv", "--to", "3 s"}, {"new.csv"}},
      {"trace_scale", {"trace", "scale", "t.csv", "new.csv", "--speedup", "2"}, {"new.csv"}},
      {"trace_sort", {"trace", "sort", "t.csv", "new.csv"}, {"new.csv"}},
      {"trace_merge", {"trace", "merge", "t.csv", "t.csv", "new.csv"}, {"new.csv"}},
      {"trace_generate", {"trace", "generate", "new.csv", "-n", "3000"}, {"new.csv"}},
      {"route", {"route", "node0/gpu0", "node1/gpu0", "--svg", "new.svg"}, {"new.svg"}},
      {"topo", {"topo", "--hwloc", "box.xml", "-o", "new.yaml"}, {"new.yaml"}},
      {"calibrate",
       {"calibrate", "-q", "-s", "pcie-pair", "--repeats", "1", "-o", "new.yaml"},
       {"new.yaml"}},
      {"compare",
       {"compare", "a", "b", "--csv", "new.csv", "--report", "new.html"},
       {"new.csv", "new.html"}},
      {"report", {"report", "a", "-o", "new.html"}, {"new.html"}},
      {"report_of_a_run", {"report", "a"}, {"a/report.html"}, true},
      {"report_why", {"report", "a", "--why"}, {"a/report.html", "a/why.json"}, true},
      {"replay", {"replay", "t.csv", "-s", "pcie-pair", "-q", "-o", "new"}, {"new/"}},
      {"replay_record",
       {"replay", "t.csv", "-s", "pcie-pair", "-q", "-o", "new", "--record", "new.log"},
       {"new/", "new.log"}},
      {"sweep",
       {"sweep", "-q", "-t", "-", "-s", "pcie-pair", "-o", "new", "--set",
        "serving.chunk_tokens=512"},
       {"new/", "new/000-chunk_tokens=512/"},
       false,
       true},
  };
  return all;
}

/// Without the lines that tell of the moment; whole lines alone, so that a cut one shows.
std::string lasting(const std::string& text) {
  static constexpr const char* moments[] = {
      "command:",         "started:",           "finished:",           "wall_s:",
      "peak_memory_mib:", "# Numbers measured", "#   kvhaul calibrate"};
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    const bool of_the_moment =
        text[end - 1] == '\n' &&
        std::any_of(std::begin(moments), std::end(moments),
                    [&](const char* m) { return text.compare(at, std::strlen(m), m) == 0; });
    if (!of_the_moment) kept.append(text, at, end - at);
    at = end;
  }
  return kept;
}

/// The same for all files that hold such lines.
Files lasting(Files files) {
  for (auto& [name, content] : files)
    if (name.find(".yaml") != std::string::npos) content = lasting(content);
  return files;
}

/// To know files again.
std::size_t digest(const Files& files) {
  std::string all;
  for (const auto& [name, content] : files)
    all.append(name).append(1, '\0').append(content).append(1, '\0');
  return std::hash<std::string>()(all);
}

bool under(const std::string& path, const std::string& folder) {
  return path.size() > folder.size() && path.starts_with(folder);
}

/// One call of the command that changes a file: which of its kind, counted in each process.
struct Call {
  std::string name;
  std::size_t at = 0;
  /// Only in the process that was started: others, too, have such a call, and live.
  bool alone = false;
  auto operator<=>(const Call&) const = default;
  std::string injection(bool kill) const {
    return "inject=" + name + (kill ? ":signal=KILL:when=" : ":error=ENOSPC:when=") +
           std::to_string(at) + (kill ? "" : "+");
  }
};

class KillTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    if (access(strace, X_OK) != 0) GTEST_SKIP() << "no strace (Debian: strace)";
    write("t.csv",
          "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n2,200,20\n4.5,300,30\n");
    write("short.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n");
    // Without it nothing can be injected here.
    if (traced({"-e", "trace=write"}, {"list", "policies"}).code != 0)
      GTEST_SKIP() << "strace may not trace here";
    const int nameless = open(folder().c_str(), O_TMPFILE | O_RDWR, 0600);
    files_without_names_ = nameless >= 0;
    if (nameless >= 0) close(nameless);
  }

  Ran traced(Arguments options, const Arguments& command) {
    options.insert(options.begin(), {"-qq", "-o", ".trace", "-E",
                                     "ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1"});
    options.push_back(KVHAUL_PROGRAM);
    options.insert(options.end(), command.begin(), command.end());
    return finish(start(strace, options));
  }

  Ran with_fault(const Call& call, bool kill, const Arguments& command) {
    Arguments options = {"-e", "trace=" + call.name, "-e", call.injection(kill)};
    if (!call.alone) options.push_back("-f");
    // Other calls do not stop it then, which is faster; but it takes no signal where it is stopped.
    if (!kill) options.push_back("--seccomp-bpf");
    return traced(options, command);
  }

  /// All that is in the test's folder, but for what the test itself writes there.
  Files files() const {
    Files found;
    for (const auto& entry : fs::recursive_directory_iterator(folder())) {
      const std::string name = fs::relative(entry.path(), folder()).string();
      if (name == ".out" || name == ".err" || name == ".trace") continue;
      if (entry.is_regular_file()) found[name] = text_of(entry.path());
      if (entry.is_directory()) found[name + "/"];
    }
    return found;
  }

  /// The calls of a command that change a file in the test's folder. `code`: how it ends.
  std::vector<Call> changing_calls(const Arguments& command, int code = 0) {
    static const std::set<std::string> of_names = {
        "rename", "renameat", "renameat2", "link",    "linkat",   "unlink", "unlinkat",
        "rmdir",  "mkdir",    "mkdirat",   "symlink", "truncate", "chmod",  "fchmodat"};
    static const std::set<std::string> of_descriptors = {"write",     "pwrite64",  "writev",
                                                         "pwritev",   "fsync",     "fdatasync",
                                                         "ftruncate", "fallocate", "fchmod"};
    const Ran ran = traced({"-f", "-y", "-s", "0"}, command);
    EXPECT_EQ(ran.code, code) << ran.err;
    const std::string here = '<' + fs::canonical(folder()).string();
    std::map<std::pair<std::string, std::string>, std::size_t> counts;  // by process and call
    std::map<Call, std::set<std::string>> found;                        // and whose they are
    std::string first_process;
    std::istringstream lines(text(".trace"));
    for (std::string line; std::getline(lines, line);) {
      const std::size_t begin = line.find_first_not_of("0123456789 ");
      const std::size_t bracket = line.find('(');
      if (begin == std::string::npos || line[begin] == '<' || bracket == std::string::npos)
        continue;  // the end of a call, or of a process
      const std::string name = line.substr(begin, bracket - begin);
      const std::string process = line.substr(0, begin);
      if (first_process.empty()) first_process = process;
      const std::size_t at = ++counts[{process, name}];
      const std::string first = line.substr(bracket, line.find_first_of(",)", bracket) - bracket);
      const bool own = first.find(here) != std::string::npos &&
                       first.find("/.out>") == std::string::npos &&
                       first.find("/.err>") == std::string::npos;
      const bool opens = (name == "openat" || name == "open" || name == "creat") &&
                         (line.find("O_WRONLY") != std::string::npos ||
                          line.find("O_RDWR") != std::string::npos) &&
                         line.find("\"/dev/") == std::string::npos;
      if (opens || of_names.count(name) != 0 || (own && of_descriptors.count(name) != 0))
        found[{name, at}].insert(process);
    }
    std::vector<Call> calls;
    for (const auto& [call, processes] : found) {
      calls.push_back(call);
      if (processes.size() > 1 && processes.count(first_process) != 0)
        calls.push_back({call.name, call.at, true});
    }
    if (calls.size() > calls_max) {
      std::shuffle(calls.begin(), calls.end(), std::mt19937(17));
      calls.resize(calls_max);
    }
    return calls;
  }

  /// Puts the folder back into the state that the command finds.
  void put_back(const Files& state) {
    for (const auto& entry : fs::directory_iterator(folder())) {
      const std::string name = entry.path().filename().string();
      if (name != ".out" && name != ".err" && name != ".trace") fs::remove_all(entry.path());
    }
    for (const auto& [name, content] : state)
      if (name.ends_with('/')) fs::create_directories(folder() / name);
    for (const auto& [name, content] : state)
      if (!name.ends_with('/')) write(name, content);
  }

  bool files_without_names_ = true;
};

class Killed : public KillTest, public ::testing::WithParamInterface<Writer> {
 protected:
  void SetUp() override {
    KillTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    read_from("t.csv");
    write("box.xml", text_of(source("tests/machine/box.xml")));
    for (const char* name : {"a", "b"}) {
      const Arguments& command = GetParam().command;
      if (std::find(command.begin(), command.end(), name) == command.end()) continue;
      ASSERT_EQ(run({"replay", "t.csv", "-s", "pcie-pair", "-n", name[0] == 'a' ? "1" : "2", "-q",
                     "-o", name})
                    .code,
                0);
    }
  }

  /// The files of an output among those of the whole folder; of a run's folder without the runs
  /// below it, which are outputs by themselves, and without what has no place in it yet.
  static Files part(const Files& all, const Writer& writer, const std::string& output) {
    Files found;
    for (const auto& [name, content] : all) {
      if (name != output && !(output.ends_with('/') && under(name, output))) continue;
      const bool other =
          std::any_of(writer.outputs.begin(), writer.outputs.end(), [&](const std::string& inner) {
            return inner.size() > output.size() && inner.starts_with(output) &&
                   (name == inner || under(name, inner));
          });
      if (!other && name.find(".new-run") == std::string::npos && !name.ends_with(".part") &&
          !name.ends_with('/'))
        found[name] = content;
    }
    return found;
  }

  /// `in_order`: the command ended by itself; `succeeded`: with exit code 0.
  void expect_sound(const Writer& writer, const Files& before, const Files& whole, bool in_order,
                    bool succeeded) {
    const Files left = lasting(files());
    Files outside = left;
    for (const std::string& output : writer.outputs) {
      const Files mine = part(left, writer, output);
      std::erase_if(outside, [&](const auto& file) {
        return file.first == output || mine.count(file.first) != 0 ||
               (output.ends_with('/') && under(file.first, output));
      });
      if (output.ends_with('/') && mine.count(output + "UNFINISHED") != 0) {
        if (writer.of_runs && output == writer.outputs.front()) continue;
        if (!refused_.insert(digest(mine)).second) continue;  // others have left the same
        const std::string run_folder = output.substr(0, output.size() - 1);
        EXPECT_EQ(run({"compare", run_folder, run_folder}).code, 2) << output;
        EXPECT_EQ(run({"report", run_folder, "-o", "/dev/null"}).code, 2) << output;
        continue;
      }
      if (mine == part(before, writer, output) || mine == part(whole, writer, output)) continue;
      // A whole table of a sweep may also say that a run of it did not end well.
      const auto table = mine.find(output + "sweep.csv");
      const bool told = table != mine.end() && table->second.ends_with('\n') &&
                        table->second.find("\n0,512,") != std::string::npos &&
                        table->second.find("\n0,512,ok,") == std::string::npos;
      EXPECT_TRUE(told && !succeeded) << output << " is neither the older one nor whole";
    }
    // Beside the outputs: what was there, and leftovers, which are whole.
    for (const auto& [name, content] : before) {
      const auto found = outside.find(name);
      if (found == outside.end()) {
        EXPECT_TRUE(left.count(name) != 0) << name << " is gone";
        continue;
      }
      EXPECT_EQ(found->second, content) << name << " has changed";
      outside.erase(found);
    }
    for (const auto& [name, content] : outside) {
      EXPECT_TRUE(!in_order && name.ends_with(".part")) << name << " was left";
      const bool known = std::any_of(whole.begin(), whole.end(),
                                     [&](const auto& file) { return file.second == content; });
      EXPECT_TRUE(known || !files_without_names_) << name << " is not whole";
    }
  }

 private:
  std::set<std::size_t> refused_;  // runs that are marked, and which no command has read
};

/// `before`: what the folder holds when the command starts.
TEST_P(Killed, LeavesTheOlderOrTheWhole) {
  const Writer& writer = GetParam();
  const Files clean = files();
  Arguments forced = writer.command;
  if (!writer.own) forced.push_back("--force");
  ASSERT_EQ(run(writer.command).code, 0);
  const Files whole = lasting(files());

  // An older output of each kind: another trace's run, another text.
  put_back(clean);
  Arguments older = writer.command;
  std::replace(older.begin(), older.end(), std::string("t.csv"), std::string("short.csv"));
  if (writer.outputs.front().ends_with('/')) {
    read_from("short.csv");
    ASSERT_EQ(run(older).code, 0);
    read_from("t.csv");
  } else {
    for (const std::string& output : writer.outputs) write(output, "old\n");
  }
  const Files old = files();

  std::set<std::size_t> mended;
  for (const bool replaces : {false, true}) {
    if (writer.own && !replaces) continue;
    const Files& before = replaces ? old : clean;
    const Arguments& command = replaces ? forced : writer.command;
    put_back(before);
    const std::vector<Call> calls = changing_calls(command);
    EXPECT_GE(calls.size(), 2u);  // it opens, and writes
    for (const Call& call : calls)
      for (const bool kill : {true, false}) {
        if (!kill && (call.name.starts_with("unlink") || call.name == "rmdir"))
          continue;  // needs no room
        if (!kill && call.name == "write" && !write_may_fail) continue;
        if (!kill && call.alone) continue;  // a disk is full for all
        put_back(before);
        const Ran ran = with_fault(call, kill, command);
        SCOPED_TRACE((replaces ? "over an older one, " : "") + call.injection(kill) +
                     (call.alone ? " alone" : "") + ", exit " + std::to_string(ran.code) + ", " +
                     ran.err);
        // Of a sweep it may be a run of its own that dies.
        if (kill && (!writer.of_runs || call.alone))
          EXPECT_EQ(ran.code, 1000 + SIGKILL);
        else
          EXPECT_TRUE(ran.code < 3 || (kill && ran.code == 1000 + SIGKILL));
        expect_sound(writer, lasting(before), whole, !kill, ran.code == 0);
        const Files left = lasting(files());
        if (ran.code == 0) {
          EXPECT_TRUE(left == whole) << "success, so it said";
        }
        // A full disk takes the error text, too, where write() is what fails.
        EXPECT_TRUE(ran.code == 0 || kill || call.name == "write" || ran.err != "");
        // From the same files it makes the same ones again.
        if (kill && mended.insert(digest(left)).second) {
          if (writer.of_runs && !replaces) {
            const Files as_it_is = files();
            Arguments resumed = command;
            resumed.push_back("--resume");
            const Ran rest = run(resumed);
            EXPECT_EQ(rest.code, 0) << rest.err;
            EXPECT_TRUE(lasting(files()) == whole) << "after the same command with --resume";
            put_back(as_it_is);
          }
          const Ran again = run(forced);
          EXPECT_EQ(again.code, 0) << again.err;
          EXPECT_TRUE(lasting(files()) == whole) << "after the same command with --force";
        }
        if (HasFailure()) return;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Writers, Killed, ::testing::ValuesIn(writers()),
                         [](const auto& info) { return std::string(info.param.name); });

/// The file that process 0 of several writes, and takes away when all have come or none will.
class KilledRendezvous : public KillTest {
 protected:
  void SetUp() override {
#ifndef KVHAUL_HAS_TLS
    GTEST_SKIP() << "built without OpenSSL";
#endif
    KillTest::SetUp();
  }

  static Arguments process(int rank, const char* join_within) {
    Arguments arguments = {"replay", "t.csv", "-s", "dgx-h100-pair", "-b", "verbs", "--ranks", "2"};
    arguments.insert(arguments.end(),
                     {"--rank", std::to_string(rank), "--seed", std::to_string(1 + rank),
                      "--rendezvous", "meet", "--join-within", join_within});
    return arguments;
  }

  /// It is believed only where nobody else can read it.
  void put_back(const Files& state) {
    KillTest::put_back(state);
    if (state.count("meet") != 0)
      fs::permissions(folder() / "meet", fs::perms::owner_read | fs::perms::owner_write);
  }

  /// Two that were not asked for the same say so, which is how they are seen to have met. Both say
  /// the same, so that they may write over each other.
  void expect_that_two_meet() {
    const pid_t first = start(process(0, "60"));
    const pid_t second = start(process(1, "60"));
    for (const pid_t one : {first, second}) {
      const Ran ran = finish(one);
      EXPECT_EQ(ran.code, 2);
      EXPECT_NE(ran.err.find("process 1 has another --seed than process 0"), std::string::npos)
          << ran.err;
    }
    EXPECT_FALSE(exists("meet"));
  }
};

/// Nobody comes in this. `before`: no such file, or one of a process 0 that was killed.
TEST_F(KilledRendezvous, IsNotThereOrWhole) {
  const Arguments command = process(0, "1");
  const Files clean = files();
  Files stale = clean;
  const std::string secret = "0123456789abcdef0123456789abcdef";
  stale["meet"] = rendezvous_text({"h", "m", {"127.0.0.1"}, 1, secret});
  for (const Files& before : {clean, stale}) {
    put_back(before);
    const std::vector<Call> calls = changing_calls(command, 2);
    EXPECT_GE(calls.size(), std::min<std::size_t>(calls_max, 4));  // made, written, named, removed
    for (const Call& call : calls)
      for (const bool kill : {true, false}) {
        if (!kill && (call.name == "unlink" || (call.name == "write" && !write_may_fail))) continue;
        put_back(before);
        const Ran ran = with_fault(call, kill, command);
        SCOPED_TRACE(call.injection(kill) + ", exit " + std::to_string(ran.code) + ", " + ran.err);
        EXPECT_EQ(ran.code, kill ? 1000 + SIGKILL : 2);
        const auto read = read_rendezvous((folder() / "meet").string());
        ASSERT_TRUE(read) << read.error().message;
        if (!kill) {
          EXPECT_TRUE(files() == before) << "a disk that is full changes nothing";
        }
        // Only after it has its name is anything removed.
        const bool is_named = kill && call.name == "unlink";
        EXPECT_EQ(read->has_value(), is_named || before.count("meet") != 0);
        if (*read) {
          EXPECT_EQ((*read)->secret == secret, !is_named);
        }
        // Beside it: what it was to be, which nobody reads, and for its owner only.
        std::size_t others = 0;
        for (const auto& [name, content] : files()) {
          if (name == "meet" || before.count(name) != 0) continue;
          ++others;
          EXPECT_TRUE(name.starts_with("meet.") && name.size() == std::strlen("meet.XXXXXX"))
              << name;
          EXPECT_EQ(fs::status(folder() / name).permissions(),
                    fs::perms::owner_read | fs::perms::owner_write);
        }
        EXPECT_LE(others, kill ? 1u : 0u);
        if (kill) expect_that_two_meet();
        if (HasFailure()) return;
      }
  }
}

/// Somebody's file that is none: not a call is made that could change it or anything beside it.
TEST_F(KilledRendezvous, LeavesOtherFilesAlone) {
  for (const char* text : {"", "notes\n", "kvhaul-rendezvous"}) {
    write("meet", text);
    EXPECT_TRUE(changing_calls(process(0, "1"), 2).empty());
    EXPECT_EQ(this->text("meet"), text);
  }
}

/// What can write over a file has an option for it, and its line above.
TEST_F(ProgramTest, EveryCommandThatWritesIsKilledSomewhere) {
  std::set<std::string> killed;
  for (const Writer& writer : writers())
    killed.insert(writer.command[0] == "trace" ? "trace " + writer.command[1] : writer.command[0]);
  const auto names_in = [&](const Arguments& help) {
    std::vector<std::string> names;
    std::istringstream lines(run(help).out);
    static const std::regex entry("  ([a-z]+) +[^ ].*");
    std::smatch found;
    for (std::string line; std::getline(lines, line);)
      if (std::regex_match(line, found, entry) && found[1] != "kvhaul") names.push_back(found[1]);
    return names;
  };
  std::size_t seen = 0;
  const auto look = [&](const std::string& name, const Arguments& help) {
    if (run(help).out.find("--force") == std::string::npos) return;
    ++seen;
    EXPECT_EQ(killed.count(name), 1u) << "kvhaul " << name << " writes, and has no line here";
  };
  for (const std::string& name : names_in({"--help"}))
    if (name != "trace") look(name, {name, "--help"});
  for (const std::string& name : names_in({"trace", "--help"}))
    look("trace " + name, {"trace", name, "--help"});
  EXPECT_EQ(seen, killed.size());
}

/// Where the sources make a file, open one to write, or give it a name: so many lines, and what
/// kills them above. A new one needs a line there, and then here.
TEST(KilledWriters, EveryLineThatWritesIsKilledSomewhere) {
  struct Place {
    std::size_t lines;
    std::vector<std::string> killed_by;
  };
  const std::map<std::string, Place> known = {
      {"cli/calibrate.cpp", {1, {"calibrate"}}},
      {"cli/child_runs.cpp", {2, {"sweep"}}},
      {"cli/compare.cpp", {1, {"compare"}}},
      {"cli/replay_run.cpp", {2, {"replay", "replay_record"}}},
      {"cli/limit_proof.cpp", {1, {"report_why"}}},
      {"cli/route.cpp", {1, {"route"}}},
      {"cli/run_folder.cpp", {6, {"replay", "sweep"}}},
      {"cli/run_report.cpp", {2, {"replay", "report", "report_of_a_run", "report_why"}}},
      {"cli/run_yaml.cpp", {1, {"replay"}}},
      {"cli/sweep.cpp", {2, {"sweep"}}},
      {"cli/sweep_folder.cpp", {4, {"sweep"}}},
      {"cli/sweep_state.cpp", {2, {"sweep"}}},
      {"cli/topo.cpp", {1, {"topo"}}},
      {"processes/private_file.cpp", {3, {"rendezvous"}}},
      {"processes/tcp_exchange.cpp", {1, {"rendezvous"}}},
      {"results/run_files.cpp", {4, {"replay"}}},
      {"results/summary_json.cpp", {1, {"replay"}}},
      {"results/timeline.cpp", {1, {"replay"}}},
      {"serving/spool.cpp", {1, {}}},  // has no name, and no command puts it out
      {"traces/output_file.cpp", {9, {"trace_convert", "replay", "report_of_a_run"}}},
      {"traces/trace_writer.cpp",
       {1,
        {"trace_convert", "trace_cut", "trace_scale", "trace_sort", "trace_merge",
         "trace_generate"}}},
  };
  static const std::regex writes(
      R"re(\b(OutputFile::create|RunFolder::open|PrivateFile::write|fopen|freopen|tmpfile|)re"
      R"re(mk(o?s?)temps?|mkdir|create_director(y|ies)|rename|renameat2?|linkat|symlink|creat)\()re"
      R"re(|\b(O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE|ofstream|std::fstream)\b)re");
  std::set<std::string> names = {"rendezvous"};
  for (const Writer& writer : writers()) names.insert(writer.name);
  std::map<std::string, std::size_t> found;
  const std::set<std::string> others = {"bench", "build", "docs", "scripts", "tests"};
  for (const auto& part : fs::directory_iterator(source(""))) {
    const std::string folder = part.path().filename().string();
    if (!part.is_directory() || folder.starts_with('.') || others.count(folder) != 0) continue;
    for (const auto& entry : fs::recursive_directory_iterator(part)) {
      const std::string ending = entry.path().extension().string();
      if (ending != ".cpp" && ending != ".h" && ending != ".cu") continue;
      std::istringstream lines(text_of(entry.path()));
      for (std::string line; std::getline(lines, line);)
        if (std::regex_search(
                line.begin(),
                line.begin() + static_cast<std::ptrdiff_t>(std::min(line.find("//"), line.size())),
                writes))
          ++found[fs::relative(entry.path(), source("")).string()];
    }
  }
  for (const auto& [file, lines] : found) {
    const auto place = known.find(file);
    EXPECT_TRUE(place != known.end() && place->second.lines == lines)
        << file << " has " << lines << " lines that make, open or name a file";
  }
  for (const auto& [file, place] : known) {
    EXPECT_EQ(found.count(file), 1u) << file;
    for (const std::string& name : place.killed_by) EXPECT_EQ(names.count(name), 1u) << name;
  }
}

}  // namespace
}  // namespace kvhaul::test
