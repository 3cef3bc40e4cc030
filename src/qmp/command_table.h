// SPDX-License-Identifier: Apache-2.0
//
// CommandTable: the commands of a monitor, and all that there is to say about each: from it come the checking of
// arguments, query-commands, and the documentation.

#ifndef JOBCORE_QMP_COMMAND_TABLE_H_
#define JOBCORE_QMP_COMMAND_TABLE_H_

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "qmp/arguments.h"
#include "qmp/error.h"
#include "qmp/json_value.h"
#include "qmp/schema.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

class Session;

struct Command {
  // In the monitor's context. A handler that has to wait does so as a coroutine: the session that sent the command
  // waits with it, all others go on. The arguments live until it has finished.
  using Handler = std::function<Co<Reply>(Arguments)>;
  // Of one about the conversation itself.
  using SessionHandler = std::function<Reply(Session&, Arguments)>;

  std::string_view name = {};
  std::string_view help = {};
  const Type* arguments = &kNoArguments;
  Handler handler = nullptr;
  SessionHandler session_handler = nullptr;  // in place of `handler`
  bool allows_oob = false;                   // may be executed out of band, ahead of those that came before it
};

class CommandTable {
 public:
  // What a client may ask for, by kNegotiation; and until it has, it may call nothing else.
  static std::span<const std::string_view> Capabilities();
  static constexpr std::string_view kNegotiation = "qmp_capabilities";

  CommandTable();  // with those two that are about itself
  CommandTable(const CommandTable&) = delete;
  CommandTable& operator=(const CommandTable&) = delete;

  // Aborts if there is one of that name.
  void Add(Command command);
  // For handlers that never wait.
  template <typename Function>
  void Add(std::string_view name, std::string_view help, const Type& arguments, Function function) {
    Add({.name = name,
         .help = help,
         .arguments = &arguments,
         .handler = [function = std::move(function)](Arguments args) { return AtOnce(function(args)); }});
  }

  // Null: there is none of that name.
  const Command* Find(std::string_view name) const;

  std::vector<const Command*> All() const;  // by name

  // For people: a line of Markdown for each.
  std::string Documentation() const;

 private:
  static Co<Reply> AtOnce(Reply reply) { co_return reply; }

  std::map<std::string_view, Command> commands_;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_COMMAND_TABLE_H_
