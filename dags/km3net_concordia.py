"""UC13 of KM3NeT: air showers by CORSIKA in a container, with KM3NeT's defaults and facilities."""

from __future__ import annotations

from airflow.sdk import DAG

from operators.concordia import concordia_dag

dag: DAG = concordia_dag("km3net_concordia", experiment="KM3NeT")
