// Decoding steps through BatchedDecoder on command, so that another process can take turns with it
// (benchmarks/genai_decoder.py). One line in, one line out:
//   decoder_steps LIBONNXRUNTIME DECODER_GRAPH DECODE_GRAPH|- CACHE_LENGTH [CHUNK [THREADS]]
//   begin ROWS TOKENS id id ...   releases all, admits ROWS prompts, runs them -> the first tokens
//   step                          -> microseconds on the wall, of processor time, then the tokens
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "graph_config.h"
#include "models/decoder.h"
#include "tensor/runtime.h"

using namespace irt;

namespace {

double now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

class Steps {
 public:
  Steps(std::string decoder, std::string decode, int length, int chunk, int threads)
      : decoder_path_(std::move(decoder)),
        decode_path_(std::move(decode)),
        length_(length),
        chunk_(chunk) {
    options_.intra_op_threads = threads;
  }

  void begin(std::istringstream& in) {
    int rows = 0;
    int tokens = 0;
    in >> rows >> tokens;
    if (rows != rows_) {
      const Session session(decoder_path_, options_);
      DecoderConfig config = config_of(session, rows, length_);
      if (decode_path_ != "-") config.decode_graph = decode_path_;
      config.prefill_chunk = chunk_;
      decoder_ = std::make_unique<BatchedDecoder>(decoder_path_, config, options_);
      live_.clear();
      rows_ = rows;
    }
    for (const SequenceId id : live_) decoder_->release(id);
    live_.clear();
    for (int row = 0; row < rows; ++row) {
      Prompt prompt;
      prompt.ids.resize(static_cast<std::size_t>(tokens));
      for (std::int64_t& id : prompt.ids) in >> id;
      live_.push_back(decoder_->admit(prompt));
    }
    do decoder_->step(out_);
    while (out_.empty());
    report();
  }

  void step() {
    const double wall = now(CLOCK_MONOTONIC);
    const double cpu = now(CLOCK_THREAD_CPUTIME_ID);
    decoder_->step(out_);
    const double cpu_end = now(CLOCK_THREAD_CPUTIME_ID);
    std::cout << now(CLOCK_MONOTONIC) - wall << ' ' << cpu_end - cpu << ' ';
    report();
  }

 private:
  void report() {
    if (static_cast<int>(out_.size()) != rows_) {
      std::cerr << "a sequence is missing: " << out_.size() << " of " << rows_ << '\n';
      std::exit(1);
    }
    for (const TokenOut& token : out_) std::cout << token.token << ' ';
    std::cout << std::endl;
  }

  std::string decoder_path_, decode_path_;
  int length_;
  int chunk_;
  SessionOptions options_;
  int rows_ = 0;
  std::unique_ptr<BatchedDecoder> decoder_;
  std::vector<SequenceId> live_;
  std::vector<TokenOut> out_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5 || argc > 7) {
    std::cerr << "usage: decoder_steps LIBONNXRUNTIME DECODER_GRAPH DECODE_GRAPH|- CACHE_LENGTH "
                 "[CHUNK [THREADS]]\n";
    return 2;
  }
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  void* base = library == nullptr ? nullptr : dlsym(library, "OrtGetApiBase");
  if (base == nullptr) {
    std::cerr << dlerror() << '\n';
    return 1;
  }
  load_runtime(reinterpret_cast<std::uintptr_t>(base));
  Steps steps(argv[2], argv[3], std::atoi(argv[4]), argc > 5 ? std::atoi(argv[5]) : 64,
              argc > 6 ? std::atoi(argv[6]) : 1);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::string verb;
    in >> verb;
    if (verb == "begin") steps.begin(in);
    if (verb == "step") steps.step();
  }
  return 0;
}
