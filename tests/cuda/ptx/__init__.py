"""Runs the PTX of CUDA kernels on the CPU and checks what each thread does: see launch.py."""
