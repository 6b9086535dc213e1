"""How the evaluator's `local` judge is made and measured: `python -m benchmarks.judge_training --data FOLDER`."""
