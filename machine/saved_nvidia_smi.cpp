#include <algorithm>
#include <map>
#include <sstream>

#include "core/unit_text.h"
#include "machine/saved_machine.h"

namespace kvhaul {
namespace {

/// Without the escapes that underline the header on a terminal.
std::string without_escapes(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\x1b')
      while (i + 1 < text.size() && (text[i] < 'A' || text[i] > 'Z') &&
             (text[i] < 'a' || text[i] > 'z'))
        ++i;
    else if (text[i] != '\r')
      plain += text[i];
  return plain;
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

bool numbered(const std::string& word, const char* kind) {
  return word.starts_with(kind) && word.size() > 3 && word.size() < 8 &&
         word.find_first_not_of("0123456789", 3) == std::string::npos;
}

bool is_mark(const std::string& word) {
  for (const char* mark : {"X", "PIX", "PXB", "PHB", "NODE", "SYS", "SOC", "PSB", "N/A", "DIS"})
    if (word == mark) return true;
  return word.starts_with("NV") && word.size() > 2 && word.size() < 5 &&
         word.find_first_not_of("0123456789", 2) == std::string::npos;
}

struct Matrix {
  std::vector<std::string> names;                // "GPU0", "NIC0" or a device's own, in their order
  std::vector<std::vector<std::string>> marks;   // [row][column]; PSB is an old word for PIX
  std::vector<std::vector<std::string>> behind;  // by row, what follows the marks: affinities
  std::map<std::string, std::string> legend;     // "NIC0": "mlx5_0"
  bool cpu_affinity = false;
};

Result<Matrix> read_matrix(const std::string& file, const std::string& text) {
  Matrix matrix;
  std::istringstream in(without_escapes(text));
  int number = 0;
  const auto bad = [&](const std::string& what) {
    return Error::bad_input(file + ":" + std::to_string(number) + ": " + what);
  };
  for (std::string line; std::getline(in, line);) {
    ++number;
    const std::vector<std::string> words = words_of(line);
    if (words.empty()) continue;
    if (matrix.names.empty()) {
      if (words[0] != "GPU0") continue;
      for (const std::string& word : words) {
        if (word == "CPU" || word == "NUMA") break;
        matrix.names.push_back(word);
      }
      matrix.cpu_affinity = line.find("CPU Affinity") != std::string::npos;
    } else if (words.size() == 2 && words[0].ends_with(":") &&
               numbered(words[0].substr(0, words[0].size() - 1), "NIC")) {
      matrix.legend[words[0].substr(0, words[0].size() - 1)] = words[1];
    } else if (std::find(matrix.names.begin(), matrix.names.end(), words[0]) !=
               matrix.names.end()) {
      const std::size_t row = matrix.marks.size();
      if (row == matrix.names.size() || words[0] != matrix.names[row])
        return bad("expected the row of " +
                   (row == matrix.names.size() ? "nothing more" : in_quotes(matrix.names[row])) +
                   ", found that of " + in_quotes(words[0]));
      if (words.size() < 1 + matrix.names.size())
        return bad("expected " + std::to_string(matrix.names.size()) + " marks, found " +
                   std::to_string(words.size() - 1));
      const auto first = words.begin() + 1;
      const auto end = first + static_cast<std::ptrdiff_t>(matrix.names.size());
      for (auto word = first; word != end; ++word)
        if (!is_mark(*word) ||
            ((*word == "X") != (word - first == static_cast<std::ptrdiff_t>(row))))
          return bad(
              "expected X for itself, and NV#, PIX, PXB, PHB, NODE or SYS for others, found " +
              in_quotes(*word));
      matrix.marks.emplace_back(first, end);
      matrix.behind.emplace_back(end, words.end());
    }
  }
  if (matrix.names.empty())
    return Error::bad_input(file +
                            ": expected the text of 'nvidia-smi topo -m', with GPU0 first in "
                            "its header");
  if (matrix.marks.size() != matrix.names.size())
    return Error::bad_input(file + ": expected a row for each of " +
                            std::to_string(matrix.names.size()) + " devices, found " +
                            std::to_string(matrix.marks.size()));
  for (std::size_t a = 0; a < matrix.names.size(); ++a)
    for (std::size_t b = 0; b < a; ++b)
      if (matrix.marks[a][b] != matrix.marks[b][a])
        return Error::bad_input(file + ": " + matrix.names[a] + " to " + matrix.names[b] + " is " +
                                matrix.marks[a][b] + ", and " + matrix.marks[b][a] +
                                " the other way");
  return matrix;
}

/// By device, the group that such marks join it to.
std::vector<std::size_t> groups(const Matrix& matrix, std::initializer_list<const char*> marks) {
  const std::size_t count = matrix.names.size();
  std::vector<std::size_t> group(count);
  for (std::size_t a = 0; a < count; ++a) group[a] = a;
  for (std::size_t a = 0; a < count; ++a)
    for (std::size_t b = 0; b < a; ++b)
      if (std::find(marks.begin(), marks.end(), matrix.marks[a][b]) != marks.end())
        for (const std::size_t old = group[a]; std::size_t & g : group)
          if (g == old) g = group[b];
  return group;
}

/// CPUs in "0-47,96-143".
unsigned cpus_in(const std::string& list) {
  unsigned count = 0;
  std::istringstream in(list);
  for (std::string part; std::getline(in, part, ',');) {
    const auto first = std::strtoul(part.c_str(), nullptr, 10);
    const std::size_t dash = part.find('-');
    const auto last =
        dash == std::string::npos ? first : std::strtoul(&part[dash + 1], nullptr, 10);
    if (last >= first && last - first < 65536) count += static_cast<unsigned>(last - first) + 1;
  }
  return count;
}

}  // namespace

Result<Machine> machine_from_nvidia_smi(const std::string& file, const SavedMachineHints& hints) {
  auto text = read_saved_file(file);
  if (!text) return text.error();
  auto read = read_matrix(file, *text);
  if (!read) return read.error();
  const Matrix& matrix = *read;
  const std::size_t count = matrix.names.size();
  Machine machine;
  machine.tree.source = machine.gpus_from = machine.nics_from = file;

  // NUMA nodes, as far as GPUs name them. Numbers begin at 0 and leave none out, so that those
  // between are there, too.
  std::vector<std::optional<unsigned>> node(count);
  std::map<unsigned, unsigned> cpus;
  for (std::size_t d = 0; d < count; ++d) {
    const std::vector<std::string>& behind = matrix.behind[d];
    const std::size_t at = matrix.cpu_affinity ? 1 : 0;
    if (!numbered(matrix.names[d], "GPU") || behind.size() <= at) continue;
    if (behind[at].empty() || behind[at].size() > 4 ||
        behind[at].find_first_not_of("0123456789") != std::string::npos)
      continue;  // "N/A", or several
    node[d] = static_cast<unsigned>(std::strtoul(behind[at].c_str(), nullptr, 10));
    cpus[*node[d]] = matrix.cpu_affinity ? cpus_in(behind[0]) : 0;
  }
  if (!cpus.empty()) {
    std::vector<NumaNode> nodes;
    for (unsigned n = 0; n <= std::min(cpus.rbegin()->first, 63u); ++n)
      nodes.push_back({n, 0, 1, std::nullopt});
    group_into_sockets(std::move(nodes), machine.tree);
    for (NumaHost& host : machine.tree.hosts) host.cores = 0;
  }

  // A NIC is in the node of the GPUs that it reaches without leaving one.
  const auto near_groups = groups(matrix, {"PIX", "PSB", "PXB", "PHB", "NODE"});
  for (std::size_t d = 0; d < count; ++d)
    for (std::size_t other = 0; other < count && !node[d]; ++other)
      if (near_groups[d] == near_groups[other]) node[d] = node[other];

  const auto one_bridge = groups(matrix, {"PIX", "PSB"});
  const auto bridges = groups(matrix, {"PIX", "PSB", "PXB"});
  unsigned nvlinks_most = 0;
  for (std::size_t d = 0; d < count; ++d) {
    std::string id = matrix.names[d];
    std::transform(id.begin(), id.end(), id.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    PciDevice place;
    place.node = node[d];
    if (node[d]) place.host = host_of_node(machine.tree, *node[d]);
    if (std::count(bridges.begin(), bridges.end(), bridges[d]) > 1) {
      place.pcie_switch = "switch" + std::to_string(bridges[d]);
      place.bridges = {place.pcie_switch, "switch" + std::to_string(one_bridge[d]) + " inner"};
    }
    machine.tree.devices[id] = std::move(place);
    if (numbered(matrix.names[d], "GPU")) {
      nvml::Gpu gpu;
      gpu.bus_id = id;
      machine.gpus.found.push_back(std::move(gpu));
    } else {
      RdmaNic nic;
      const auto named = matrix.legend.find(matrix.names[d]);
      nic.device = named == matrix.legend.end() ? matrix.names[d] : named->second;
      nic.bus_id = id;
      if (nic.device.find("bond") != std::string::npos) {
        nic.ports = nic.ports_up = 2;
        nic.bond = "by its name";
      }
      machine.nics.push_back(std::move(nic));
    }
    for (std::size_t other = 0; other < count; ++other)
      if (const std::string& mark = matrix.marks[d][other]; mark.starts_with("NV"))
        nvlinks_most = std::max(nvlinks_most, static_cast<unsigned>(std::stoul(mark.substr(2))));
  }

  // Through a switch each pair shows all links of a GPU. More than any GPU has, added up over the
  // pairs, are such.
  constexpr unsigned links_of_a_gpu_most = 18;
  const bool through_switch = nvlinks_most * (machine.gpus.found.size() - 1) > links_of_a_gpu_most;
  std::size_t g = 0;
  for (std::size_t d = 0; d < count; ++d) {
    if (!numbered(matrix.names[d], "GPU")) continue;
    nvml::Gpu& gpu = machine.gpus.found[g++];
    unsigned links = 0;
    for (std::size_t other = 0; other < count; ++other) {
      const std::string& mark = matrix.marks[d][other];
      if (!mark.starts_with("NV")) continue;
      const auto number = static_cast<unsigned>(std::stoul(mark.substr(2)));
      links = std::max(links, number);
      std::string peer = "gpu" + matrix.names[other].substr(3);
      for (unsigned l = 0; l < number && !through_switch; ++l)
        gpu.nvlinks.push_back({static_cast<unsigned>(gpu.nvlinks.size()), false, peer});
    }
    for (unsigned l = 0; l < links && through_switch; ++l) gpu.nvlinks.push_back({l, true, ""});
  }
  return complete_saved_machine(std::move(machine), hints);
}

}  // namespace kvhaul
