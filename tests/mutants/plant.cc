// SPDX-License-Identifier: Apache-2.0
//
// plant LIST SOURCE_DIR OUTPUT_DIR FILE...: copies the files, with all bugs of the list in them (mutants.txt says how
// they are written down). Each is asleep until the environment variable JOBCORE_MUTANT names it. Also writes
// OUTPUT_DIR/mutants.cc, which looks there.
//
// Runs when the tests are built. A snippet that is not there exactly once is an error: the list cannot rot silently.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

[[noreturn]] void Fail(const std::string& why) {
  std::fprintf(stderr, "plant: %s\n", why.c_str());
  std::exit(1);
}

// As Fail, but the others are looked at first, so that all are told at once.
bool complained = false;
void Complain(const std::string& why) {
  std::fprintf(stderr, "plant: %s\n", why.c_str());
  complained = true;
}

// One change of one file.
struct Edit {
  std::string mutant;
  std::string original;
  std::string replacement;
  size_t at = 0;
};

struct List {
  std::vector<std::string> mutants;
  std::map<std::string, std::vector<Edit>> edits;  // by file
};

std::string Read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) Fail("cannot read " + path.string());
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Leaves a file alone that is as it should be, so that what depends on it need not be built again.
void Write(const fs::path& path, const std::string& text) {
  if (fs::exists(path) && Read(path) == text) return;
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) Fail("cannot write " + path.string());
}

bool IsName(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

// The variable that says whether the mutant is the chosen one.
std::string Variable(std::string mutant) {
  std::replace(mutant.begin(), mutant.end(), '-', '_');
  return mutant;
}

std::string ReplaceAll(std::string text, std::string_view what, std::string_view by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

class Parser {
 public:
  explicit Parser(const std::string& path) : path_(path), in_(Read(path)) {}

  List Parse() {
    List list;
    std::set<std::string> names;
    std::string mutant;
    std::string file;
    bool has_edit = true;
    while (NextLine()) {
      if (line_.empty() || line_.front() == '#') continue;
      if (line_ == "<<<<") {
        if (mutant.empty() || file.empty()) Fail(Where() + "an edit needs a mutant and a file");
        list.edits[file].push_back(ParseEdit(mutant));
        has_edit = true;
        continue;
      }
      const size_t colon = line_.find(": ");
      if (colon == std::string::npos) Fail(Where() + "neither a key nor an edit: " + line_);
      const std::string key = line_.substr(0, colon);
      const std::string value = line_.substr(colon + 2);
      if (key == "mutant") {
        if (!has_edit) Fail(Where() + mutant + " changes nothing");
        if (!IsName(value)) Fail(Where() + "a name is of small letters, digits and hyphens: " + value);
        if (!names.insert(value).second) Fail(Where() + value + " is there twice");
        list.mutants.push_back(mutant = value);
        file.clear();
        has_edit = false;
      } else if (key == "file") {
        file = value;
      } else if (key != "races" && key != "what" && key != "find" && key != "expect") {
        Fail(Where() + "unknown key " + key);
      }
    }
    if (!has_edit) Fail(Where() + mutant + " changes nothing");
    return list;
  }

 private:
  bool NextLine() {
    ++number_;
    return static_cast<bool>(std::getline(in_, line_));
  }

  std::string Where() const { return path_ + ":" + std::to_string(number_) + ": "; }

  std::string Until(std::string_view end) {
    std::string text;
    const std::string from = Where();
    while (NextLine()) {
      if (line_ == end) return text;
      text += line_ + "\n";
    }
    Fail(from + "no line '" + std::string(end) + "' follows");
  }

  Edit ParseEdit(const std::string& mutant) {
    Edit edit{.mutant = mutant, .original = Until("===="), .replacement = Until(">>>>")};
    // Without their last newline, so that both can be parts of a line.
    if (edit.original.empty()) Fail(Where() + "nothing to replace");
    edit.original.pop_back();
    if (!edit.replacement.empty()) edit.replacement.pop_back();
    edit.replacement = ReplaceAll(std::move(edit.replacement), "MUTANT", "jobcore_mutants::" + Variable(mutant));
    return edit;
  }

  const std::string path_;
  std::istringstream in_;
  std::string line_;
  int number_ = 0;
};

std::string Plant(std::string text, const std::string& file, std::vector<Edit> edits) {
  if (!text.starts_with("// SPDX-License-Identifier: Apache-2.0\n")) Fail(file + " does not begin with its licence");
  for (Edit& edit : edits) {
    edit.at = text.find(edit.original);
    const std::string of = edit.mutant + ": its original in " + file;
    if (edit.at == std::string::npos) {
      Complain(of + " is not there:\n" + edit.original);
    } else if (text.find(edit.original, edit.at + 1) != std::string::npos) {
      Complain(of + " is there twice:\n" + edit.original);
    }
  }
  if (complained) return text;
  std::sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) { return a.at > b.at; });
  std::set<std::string> variables;
  size_t end = text.size();
  const Edit* next = nullptr;
  for (const Edit& edit : edits) {
    if (edit.at + edit.original.size() > end) Fail(edit.mutant + " and " + next->mutant + " overlap in " + file);
    text.replace(edit.at, edit.original.size(), edit.replacement);
    end = edit.at;
    next = &edit;
    variables.insert(Variable(edit.mutant));
  }
  // In the place of the licence, so that the numbers of the lines are the original's up to the first edit. Only
  // what this file needs: a new mutant elsewhere does not make it be built again.
  std::string declarations = "namespace jobcore_mutants {";
  for (const std::string& variable : variables) declarations += " extern bool " + variable + ";";
  return declarations + " }" + text.substr(text.find('\n'));
}

std::string Definitions(const std::vector<std::string>& mutants) {
  std::string text =
      "#include <cstdio>\n#include <cstdlib>\n#include <cstring>\n\n"
      "namespace jobcore_mutants {\n";
  for (const std::string& mutant : mutants) text += "extern bool " + Variable(mutant) + ";\n";
  for (const std::string& mutant : mutants) text += "bool " + Variable(mutant) + " = false;\n";
  text +=
      "namespace {\n"
      "[[maybe_unused]] const bool chosen = [] {\n"
      "  const char* const name = std::getenv(\"JOBCORE_MUTANT\");\n"
      "  if (name == nullptr) return false;\n";
  for (const std::string& mutant : mutants) {
    text += "  if (std::strcmp(name, \"" + mutant + "\") == 0) return " + Variable(mutant) + " = true;\n";
  }
  text +=
      "  std::fprintf(stderr, \"JOBCORE_MUTANT=%s: there is no such mutant\\n\", name);\n"
      "  std::exit(2);\n"
      "}();\n"
      "}\n"
      "}  // namespace jobcore_mutants\n";
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) Fail("usage: plant LIST SOURCE_DIR OUTPUT_DIR FILE...");
  List list = Parser(argv[1]).Parse();
  const fs::path source = argv[2];
  const fs::path output = argv[3];
  for (int i = 4; i < argc; ++i) {
    const std::string file = argv[i];
    std::string text = Read(source / file);
    if (const auto found = list.edits.find(file); found != list.edits.end()) {
      text = Plant(std::move(text), file, std::move(found->second));
      list.edits.erase(found);
    }
    if (!complained) Write(output / file, text);
  }
  if (complained) return 1;
  if (!list.edits.empty()) {
    const auto& [file, edits] = *list.edits.begin();
    Fail(edits.front().mutant + ": " + file + " is none of the files that are copied");
  }
  Write(output / "mutants.cc", Definitions(list.mutants));
}
