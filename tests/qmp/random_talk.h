// SPDX-License-Identifier: Apache-2.0
//
// Clients of a daemon in this process that say whatever chance wants, or a fuzzer.

#ifndef JOBCORE_TESTS_QMP_RANDOM_TALK_H_
#define JOBCORE_TESTS_QMP_RANDOM_TALK_H_

#include <cstdint>
#include <string>
#include <utility>

#include "qmp/daemon_world.h"
#include "qmp/json_text.h"
#include "qmp/json_value.h"
#include "qmp/random_commands.h"
#include "qmp/session.h"

namespace jobcore_test {

// `commands` commands by three clients; one of them comes and goes. In the end everything can be ended, and it has been
// said what became of every command of those who stayed.
inline bool RandomTalk(const RandomCommands::Choose& choose, int commands) {
  struct Talker {
    explicit Talker(jobcored::Daemon& daemon)
        : session(jobcore::qmp::Session::Create(daemon.monitor, [this](const std::string& line) {
            const jobcore::qmp::JsonValue said = *jobcore::qmp::ParseJson(line);
            if (said.AsObject()->Find("event") == nullptr) ++answered;
          })) {
      Say(jobcore::qmp::JsonObject{{"execute", "qmp_capabilities"}});
    }
    ~Talker() {
      session->Close();
      session->DropEventSource();
    }
    void Say(jobcore::qmp::JsonObject command) {
      ++asked;
      session->Feed(jobcore::qmp::WriteJson(std::move(command)));
    }
    int asked = 0;
    int answered = 0;
    std::shared_ptr<jobcore::qmp::Session> session;
  };

  DaemonWorld world;
  RandomCommands random(world.daemon.commands, choose);
  Talker a(world.daemon), b(world.daemon);
  auto coming_and_going = std::make_unique<Talker>(world.daemon);
  for (int i = 0; i < commands; ++i) {
    switch (choose(4)) {
      case 0:
        b.Say(random.Next());
        break;
      case 1:
        coming_and_going->Say(random.Next());
        if (choose(8) == 7) coming_and_going = std::make_unique<Talker>(world.daemon);
        break;
      default:
        a.Say(random.Next());
        break;
    }
    for (uint32_t turns = choose(4); turns > 0; --turns) world.daemon.core.main_context().RunOnce(/*may_block=*/false);
  }
  return world.End() && a.answered == a.asked && b.answered == b.asked;
}

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_QMP_RANDOM_TALK_H_
