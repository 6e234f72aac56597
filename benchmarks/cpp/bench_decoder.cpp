// What the batched decoder adds to ONNX Runtime: one decoding step through BatchedDecoder against
// the bare call of the same graph with the same bindings, in turns; medians as JSON.
//   bench_decoder LIBONNXRUNTIME DECODER_GRAPH [STEPS] [CACHE_LENGTH]
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "graph_config.h"
#include "models/decoder.h"
#include "models/kv_cache.h"
#include "tensor/runtime.h"

using namespace irt;

namespace {

constexpr int kPrompt = 16;

// Microseconds of one call: on the wall, and of this thread's processor time. With one intra-op
// thread all work is this thread's, and a busy machine disturbs the second clock less.
struct Time {
  double wall = 0.0;
  double cpu = 0.0;
};

double now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

Time time_of(auto&& function) {
  const double wall = now(CLOCK_MONOTONIC);
  const double cpu = now(CLOCK_THREAD_CPUTIME_ID);
  function();
  const double cpu_end = now(CLOCK_THREAD_CPUTIME_ID);
  return {now(CLOCK_MONOTONIC) - wall, cpu_end - cpu};
}

double median(const std::vector<Time>& times, double Time::* clock) {
  std::vector<double> values;
  for (const Time& time : times) values.push_back(time.*clock);
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The graph with its bindings and nothing else: every row decodes token 1 at `past`.
class Bare {
 public:
  Bare(const Session& session, const DecoderConfig& c)
      : cache_({c.layers, c.slots, c.kv_heads, c.cache_length, c.head_dim}, ElementType::kFloat32,
               host()),
        rows_(static_cast<std::size_t>(c.slots)),
        ids_(rows_, 1),
        positions_(3 * rows_),
        past_(rows_),
        last_(rows_),
        visual_(rows_ * static_cast<std::size_t>(c.hidden)),
        deepstack_(visual_.size() * static_cast<std::size_t>(c.deepstack_levels)),
        logits_(rows_ * static_cast<std::size_t>(c.vocab)),
        run_(session) {
    const std::int64_t b = c.slots;
    const auto in = [&](const char* name, auto& memory, std::vector<std::int64_t> shape) {
      run_.bind_input(name, Tensor::over(std::span(memory), std::move(shape)));
    };
    in("input_ids", ids_, {b, 1});
    in("position_ids", positions_, {3, b, 1});
    in("past_len", past_, {b});
    in("last_index", last_, {b, 1});
    in("visual_embeds", visual_, {b, 1, c.hidden});
    in("deepstack", deepstack_, {c.deepstack_levels, b, 1, c.hidden});
    run_.bind_output("logits", Tensor::over(std::span(logits_), {b, 1, c.vocab}));
    for (int layer = 0; layer < c.layers; ++layer) {
      const std::string number = std::to_string(layer);
      const Tensor keys = cache_.keys(layer, 0, c.slots);
      const Tensor values = cache_.values(layer, 0, c.slots);
      run_.bind_input("past_k." + number, keys);
      run_.bind_input("past_v." + number, values);
      run_.bind_output("present_k." + number, keys);
      run_.bind_output("present_v." + number, values);
    }
  }

  void at(std::int64_t past) {
    std::fill(past_.begin(), past_.end(), past);
    std::fill(positions_.begin(), positions_.end(), past);
  }
  void run() { run_.run(); }

 private:
  KvCache cache_;
  std::size_t rows_;
  std::vector<std::int64_t> ids_, positions_, past_, last_;
  std::vector<float> visual_, deepstack_, logits_;
  Run run_;
};

void admit_all(BatchedDecoder& decoder, const DecoderConfig& config,
               std::vector<SequenceId>& live) {
  for (const SequenceId id : live) decoder.release(id);
  live.clear();
  for (int row = 0; row < config.slots; ++row) {
    Prompt prompt;
    for (int i = 0; i < kPrompt; ++i) prompt.ids.push_back((7 * row + 3 * i) % config.vocab);
    prompt.max_new_tokens = config.cache_length;
    live.push_back(decoder.admit(prompt));
  }
}

void measure(const std::string& path, int batch, int steps, int length) {
  const SessionOptions options;
  const Session session(path, options);
  DecoderConfig config = config_of(session, batch, length);
  Bare bare(session, config);
  BatchedDecoder decoder(path, config, options);
  std::vector<SequenceId> live;
  std::vector<TokenOut> out;
  std::vector<Time> bare_times;
  std::vector<Time> decoder_times;
  int past = config.cache_length;
  for (int i = -20; i < steps; ++i) {
    if (past + 2 >= config.cache_length) {
      admit_all(decoder, config, live);
      decoder.step(out);  // the prompt
      past = kPrompt;
    }
    bare.at(past++);
    Time alone;
    const auto run_bare = [&] { alone = time_of([&] { bare.run(); }); };
    if (i % 2 == 0) run_bare();
    const Time whole = time_of([&] { decoder.step(out); });
    if (i % 2 != 0) run_bare();
    if (static_cast<int>(out.size()) != batch || out[0].stop != StopReason::kNone) {
      std::fprintf(stderr, "a sequence stopped: is the graph finite?\n");
      std::exit(1);
    }
    if (i < 0) continue;  // warm-up
    bare_times.push_back(alone);
    decoder_times.push_back(whole);
  }
  std::printf("{\"batch\": %d, \"steps\": %d, \"cache_length\": %d", batch, steps,
              config.cache_length);
  for (const auto& [name, clock] : {std::pair{"wall", &Time::wall}, std::pair{"cpu", &Time::cpu}}) {
    const double bare_us = median(bare_times, clock);
    const double decoder_us = median(decoder_times, clock);
    std::printf(", \"%s\": {\"bare_us\": %.1f, \"decoder_us\": %.1f, \"ratio\": %.4f}", name,
                bare_us, decoder_us, decoder_us / bare_us);
  }
  std::printf("}\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s LIBONNXRUNTIME DECODER_GRAPH [STEPS] [CACHE_LENGTH]\n",
                 argv[0]);
    return 2;
  }
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  void* base = library == nullptr ? nullptr : dlsym(library, "OrtGetApiBase");
  if (base == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  load_runtime(reinterpret_cast<std::uintptr_t>(base));
  const int steps = argc > 3 ? std::atoi(argv[3]) : 400;
  const int length = argc > 4 ? std::atoi(argv[4]) : 512;
  for (const int batch : {1, 8}) measure(argv[2], batch, steps, length);
  return 0;
}
